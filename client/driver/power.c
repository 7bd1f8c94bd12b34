// SPDX-License-Identifier: GPL-2.0-only
/*
 * Suspend to RAM and disk, function-level reset, shutdown and kexec. None of them can keep a
 * session: the host's side of it is not ours to save. So sessions end first, each with its code.
 */
#include <linux/device.h>

#include "vgpu_drv.h"

/* Processes are frozen; none of them is inside an ioctl, since all our sleeps are interruptible. */
static int __maybe_unused vgpu_pm_suspend(struct device *device)
{
	struct vgpu_device *dev = pci_get_drvdata(to_pci_dev(device));

	mutex_lock(&dev->end_lock);
	vgpu_device_end_sessions(dev, VGPU_ERROR_SESSION_SUSPENDED);
	mutex_unlock(&dev->end_lock);
	vgpu_device_settle(dev);
	return 0;
}

/*
 * The PCI core has restored BARs and MSI-X. After suspend to disk this is another device: it is
 * identified again, and reset, for the kernel that booted to read the image had it too.
 */
static int __maybe_unused vgpu_pm_resume(struct device *device)
{
	struct vgpu_device *dev = pci_get_drvdata(to_pci_dev(device));
	int ret;

	mutex_lock(&dev->end_lock);
	vgpu_hw_reset(dev);
	ret = vgpu_device_start(dev);
	mutex_unlock(&dev->end_lock);
	if (ret)
		pci_err(dev->pdev, "not usable after resume: error %d\n", ret);
	return ret;
}

/* The same for disk: freeze, thaw, poweroff and restore. */
const struct dev_pm_ops vgpu_pm_ops = {
	SET_SYSTEM_SLEEP_PM_OPS(vgpu_pm_suspend, vgpu_pm_resume)
};

/* kexec: the next kernel must not find a host that writes to our window. */
void vgpu_pci_shutdown(struct pci_dev *pdev)
{
	struct vgpu_device *dev = pci_get_drvdata(pdev);

	mutex_lock(&dev->end_lock);
	vgpu_device_end_sessions(dev, VGPU_ERROR_SESSION_RESET);
	mutex_unlock(&dev->end_lock);
}

/* echo 1 > /sys/bus/pci/devices/.../reset. end_lock is held from the one to the other. */
static void vgpu_reset_prepare(struct pci_dev *pdev)
{
	struct vgpu_device *dev = pci_get_drvdata(pdev);

	mutex_lock(&dev->end_lock);
	vgpu_device_end_sessions(dev, VGPU_ERROR_SESSION_RESET);
}

static void vgpu_reset_done(struct pci_dev *pdev)
{
	struct vgpu_device *dev = pci_get_drvdata(pdev);
	int ret;

	ret = vgpu_device_start(dev);
	mutex_unlock(&dev->end_lock);
	if (ret)
		pci_err(pdev, "not usable after reset: error %d\n", ret);
}

const struct pci_error_handlers vgpu_error_handlers = {
	.reset_prepare = vgpu_reset_prepare,
	.reset_done = vgpu_reset_done,
};
