// SPDX-License-Identifier: GPL-2.0-only
/*
 * Module and PCI side: a device comes and goes.
 */
#include <linux/module.h>
#include <linux/pci.h>

#include "vgpu_drv.h"

#ifndef CONFIG_X86_64
#error "the window's memory type is checked in x86-64 page tables; other machines are not supported"
#endif

struct workqueue_struct *vgpu_workqueue;

static int pci_map(struct vgpu_device *dev)
{
	struct pci_dev *pdev = dev->pdev;
	int ret;

	if (pci_resource_len(pdev, 0) < VGPU_DEVICE_BAR0_BYTES) {
		pci_err(pdev, "BAR0 has %llu bytes, not %u\n",
			(u64)pci_resource_len(pdev, 0), VGPU_DEVICE_BAR0_BYTES);
		return -ENODEV;
	}
	ret = pci_request_region(pdev, 0, VGPU_NAME);
	if (ret) {
		pci_err(pdev, "BAR0 is in use: error %d\n", ret);
		return ret;
	}
	dev->bar = pci_resource_start(pdev, 0);
	dev->regs = pci_iomap(pdev, 0, 0);
	if (!dev->regs) {
		pci_release_region(pdev, 0);
		return -ENOMEM;
	}
	dev->present = true;
	return 0;
}

static void pci_unmap(struct vgpu_device *dev)
{
	vgpu_hw_stop(dev);
	pci_iounmap(dev->pdev, dev->regs);
	pci_release_region(dev->pdev, 0);
}

static int vgpu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vgpu_device *dev;
	int ret;

	dev = vgpu_device_create(pdev);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	pci_set_drvdata(pdev, dev);
	ret = pci_enable_device_mem(pdev);
	if (ret)
		goto err_put;
	ret = pci_map(dev);
	if (ret)
		goto err_disable;
	ret = vgpu_hw_identify(dev);
	if (ret)
		goto err_unmap;
	ret = vgpu_window_map(dev);
	if (ret)
		goto err_unmap;
	ret = vgpu_extent_init(dev);
	if (ret)
		goto err_window;
	pci_set_master(pdev);
	/* A kernel before us (kexec, crash) may have left sessions: they write to the window. */
	vgpu_hw_reset(dev);
	ret = vgpu_hw_request_irqs(dev);
	if (ret)
		goto err_master;
	ret = vgpu_device_start(dev);
	if (ret)
		goto err_irqs;
	ret = vgpu_chardev_add(dev);
	if (ret)
		goto err_irqs;
	pci_info(pdev, "vgpu%d: window of %llu MiB at %#llx, write-back; %u sessions, %u vectors\n",
		 dev->minor, dev->window_bytes >> 20, (u64)dev->window_addr, dev->ports,
		 dev->vectors);
	return 0;

err_irqs:
	vgpu_hw_free_irqs(dev);
	vgpu_device_cancel_work(dev);
err_master:
	pci_clear_master(pdev);
err_window:
	vgpu_window_unmap(dev);
err_unmap:
	pci_unmap(dev);
err_disable:
	pci_disable_device(pdev);
err_put:
	put_device(&dev->dev);
	return ret;
}

/*
 * Also while files and mappings exist. No open after chardev_del; end_sessions leaves nobody
 * inside and no mapping of window or doorbells; free_irqs leaves no interrupt, so that no work is
 * queued after cancel_work; `down` stays set, so that the files that remain touch neither registers
 * nor window. They hold `dev`.
 */
static void vgpu_remove(struct pci_dev *pdev)
{
	struct vgpu_device *dev = pci_get_drvdata(pdev);

	vgpu_chardev_del(dev);
	mutex_lock(&dev->end_lock);
	vgpu_device_end_sessions(dev, VGPU_ERROR_SESSION_UNPLUGGED);
	mutex_unlock(&dev->end_lock);
	vgpu_hw_free_irqs(dev);
	vgpu_device_cancel_work(dev);
	pci_clear_master(pdev);
	vgpu_window_unmap(dev);
	pci_unmap(dev);
	pci_disable_device(pdev);
	put_device(&dev->dev);
}

static const struct pci_device_id vgpu_ids[] = {
	{ PCI_DEVICE(VGPU_PCI_VENDOR, VGPU_PCI_DEVICE) },
	{ }
};
MODULE_DEVICE_TABLE(pci, vgpu_ids);

static struct pci_driver vgpu_driver = {
	.name = VGPU_NAME,
	.id_table = vgpu_ids,
	.probe = vgpu_probe,
	.remove = vgpu_remove,
	.shutdown = vgpu_pci_shutdown,
	.err_handler = &vgpu_error_handlers,
	.driver.pm = &vgpu_pm_ops,
};

static int __init vgpu_init(void)
{
	int ret;

	vgpu_workqueue = alloc_workqueue(VGPU_NAME, WQ_UNBOUND, 0);
	if (!vgpu_workqueue)
		return -ENOMEM;
	ret = vgpu_chardev_init();
	if (ret)
		goto err_workqueue;
	ret = pci_register_driver(&vgpu_driver);
	if (ret)
		goto err_chardev;
	return 0;

err_chardev:
	vgpu_chardev_uninit();
err_workqueue:
	destroy_workqueue(vgpu_workqueue);
	return ret;
}

static void __exit vgpu_exit(void)
{
	pci_unregister_driver(&vgpu_driver);
	vgpu_chardev_uninit();
	destroy_workqueue(vgpu_workqueue);
}

module_init(vgpu_init);
module_exit(vgpu_exit);

MODULE_DESCRIPTION("Guest driver for a GPU shared by virtual machines");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
