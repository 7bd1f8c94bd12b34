// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/vgpuN: protocol/uapi. What comes from the caller is copied once, before dev->srcu is
 * entered, and the answer is copied out after it is left: user memory can stall for ever, and
 * removal waits for dev->srcu.
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vgpu_drv.h"
#include "compat.h"

static struct class *vgpu_class;
static dev_t vgpu_numbers;
static DEFINE_IDA(vgpu_minors);
static DECLARE_WAIT_QUEUE_HEAD(vgpu_released);

static int vgpu_open(struct inode *inode, struct file *filp)
{
	struct vgpu_device *dev = container_of(inode->i_cdev, struct vgpu_device, cdev);
	struct vgpu_file *file;

	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;
	file->dev = dev;
	file->filp = filp;
	mutex_init(&file->lock);
	filp->private_data = file;
	mutex_lock(&dev->lock);
	list_add(&file->list, &dev->files);
	mutex_unlock(&dev->lock);
	return nonseekable_open(inode, filp);
}

/*
 * The last close, also of a process that was killed. Mappings hold the file, so there are none
 * left, and no ioctl is under way: the session is nobody's but the reaper's.
 */
static int vgpu_release(struct inode *inode, struct file *filp)
{
	struct vgpu_file *file = filp->private_data;
	struct vgpu_device *dev = file->dev;

	mutex_lock(&dev->lock);
	list_del(&file->list);
	mutex_unlock(&dev->lock);
	vgpu_session_close(file->opening);
	vgpu_session_close(file->session);
	mutex_destroy(&file->lock);
	kfree(file);
	return 0;
}

static void device_info(struct vgpu_device *dev, struct vgpu_uapi_info *ret_info)
{
	memset(ret_info, 0, sizeof(*ret_info));
	ret_info->version = VGPU_UAPI_VERSION;
	ret_info->device_version = dev->version;
	ret_info->status = vgpu_hw_status(dev, &ret_info->error);
	ret_info->window_bytes = dev->window_bytes;
	mutex_lock(&dev->lock);
	ret_info->free_bytes = vgpu_extent_offset(dev->extents_free);
	mutex_unlock(&dev->lock);
	ret_info->sessions = dev->ports;
	ret_info->vectors = dev->vectors;
}

union vgpu_argument {
	struct vgpu_uapi_info info;
	struct vgpu_uapi_open open;
	struct vgpu_uapi_heap_add heap_add;
	struct vgpu_uapi_wait wait;
};

static int device_ioctl(struct vgpu_file *file, unsigned int cmd, union vgpu_argument *arg)
{
	struct vgpu_device *dev = file->dev;
	u32 down = vgpu_device_down(dev);

	switch (cmd) {
	case VGPU_IOC_INFO:
		if (down)
			return -ENODEV;
		device_info(dev, &arg->info);
		return 0;
	case VGPU_IOC_OPEN:
		arg->open.sid = 0;
		arg->open.result = down;
		arg->open.value = 0;
		arg->open.limit = 0;
		return down ? -ENODEV : vgpu_session_open(file, &arg->open);
	case VGPU_IOC_HEAP_ADD:
		arg->heap_add.result = 0;
		arg->heap_add.value = 0;
		arg->heap_add.limit = 0;
		return vgpu_heap_add(file, &arg->heap_add);
	case VGPU_IOC_WAIT:
		arg->wait.result = 0;
		return vgpu_session_wait(file, &arg->wait);
	}
	return -ENOTTY;
}

static long vgpu_ioctl(struct file *filp, unsigned int cmd, unsigned long address)
{
	struct vgpu_file *file = filp->private_data;
	void __user *user = (void __user *)address;
	size_t size = _IOC_SIZE(cmd);
	union vgpu_argument arg;
	int ret, idx;

	if (cmd != VGPU_IOC_INFO && cmd != VGPU_IOC_OPEN && cmd != VGPU_IOC_HEAP_ADD &&
	    cmd != VGPU_IOC_WAIT)
		return -ENOTTY;
	if (copy_from_user(&arg, user, size))
		return -EFAULT;
	idx = srcu_read_lock(&file->dev->srcu);
	ret = device_ioctl(file, cmd, &arg);
	srcu_read_unlock(&file->dev->srcu, idx);
	if (ret && ret != -EIO && ret != -ENODEV)
		return ret;
	/* A session that is open but not reported stays the file's and ends with it. */
	if (copy_to_user(user, &arg, size))
		return -EFAULT;
	return ret;
}

static const struct file_operations vgpu_fops = {
	.owner = THIS_MODULE,
	.open = vgpu_open,
	.release = vgpu_release,
	.unlocked_ioctl = vgpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = vgpu_mmap,
};

int vgpu_chardev_number(struct vgpu_device *dev)
{
	return ida_alloc_max(&vgpu_minors, VGPU_MINORS - 1, GFP_KERNEL);
}

void vgpu_chardev_release_number(int minor)
{
	ida_free(&vgpu_minors, minor);
	wake_up_all(&vgpu_released);
}

/* The device node appears; everything that it needs works already. */
int vgpu_chardev_add(struct vgpu_device *dev)
{
	int ret;

	dev->dev.class = vgpu_class;
	dev->dev.groups = vgpu_sysfs_groups;
	dev->dev.devt = MKDEV(MAJOR(vgpu_numbers), MINOR(vgpu_numbers) + dev->minor);
	ret = dev_set_name(&dev->dev, "vgpu%d", dev->minor);
	if (ret)
		return ret;
	cdev_init(&dev->cdev, &vgpu_fops);
	dev->cdev.owner = THIS_MODULE;
	return cdev_device_add(&dev->cdev, &dev->dev);
}

/* No new opens and no sysfs reader after this; open files go on. */
void vgpu_chardev_del(struct vgpu_device *dev)
{
	cdev_device_del(&dev->cdev, &dev->dev);
}

int vgpu_chardev_init(void)
{
	int ret;

	ret = alloc_chrdev_region(&vgpu_numbers, 0, VGPU_MINORS, VGPU_NAME);
	if (ret)
		return ret;
	vgpu_class = vgpu_compat_class_create(VGPU_NAME);
	if (IS_ERR(vgpu_class)) {
		unregister_chrdev_region(vgpu_numbers, VGPU_MINORS);
		return PTR_ERR(vgpu_class);
	}
	return 0;
}

/* Files hold the module, but others may hold a device for a moment: its release is our code. */
void vgpu_chardev_uninit(void)
{
	wait_event(vgpu_released, ida_is_empty(&vgpu_minors));
	class_destroy(vgpu_class);
	unregister_chrdev_region(vgpu_numbers, VGPU_MINORS);
	ida_destroy(&vgpu_minors);
}
