// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers, commands and interrupts.
 *
 * A removed device reads all ones, or whatever the hypervisor gives for unused addresses. MAGIC
 * decides: values that cannot be make us read it.
 */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/moduleparam.h>

#include "vgpu_drv.h"
#include "protocol/session/session.h"

static unsigned int max_vectors = VGPU_DEVICE_VECTORS_MAX;
module_param(max_vectors, uint, 0444);
MODULE_PARM_DESC(max_vectors, "MSI-X vectors to take at most, 1 to 65");

static u32 hw_read(struct vgpu_device *dev, u32 reg)
{
	lockdep_assert_held(&dev->hw_lock);
	return dev->present ? readl(dev->regs + reg) : ~0u;
}

static void hw_write(struct vgpu_device *dev, u32 reg, u32 value)
{
	lockdep_assert_held(&dev->hw_lock);
	if (dev->present)
		writel(value, dev->regs + reg);
}

static u64 hw_read64(struct vgpu_device *dev, u32 reg)
{
	return hw_read(dev, reg) | (u64)hw_read(dev, reg + 4) << 32;
}

static void hw_write64(struct vgpu_device *dev, u32 reg, u64 value)
{
	hw_write(dev, reg, lower_32_bits(value));
	hw_write(dev, reg + 4, upper_32_bits(value));
}

/* Everybody who sleeps looks again. */
void vgpu_hw_wake(struct vgpu_device *dev)
{
	u32 sid;

	wake_up_all(&dev->wq);
	for (sid = 0; sid < dev->ports; sid++)
		wake_up_all(&dev->port[sid].wq);
}

static bool hw_check_gone(struct vgpu_device *dev)
{
	if (!dev->gone && hw_read(dev, VGPU_REG_MAGIC) != VGPU_DEVICE_MAGIC) {
		WRITE_ONCE(dev->gone, true);
		vgpu_hw_wake(dev);
	}
	return dev->gone;
}

static void hw_read_status(struct vgpu_device *dev)
{
	u32 status = hw_read(dev, VGPU_REG_STATUS);
	u32 epoch = hw_read(dev, VGPU_REG_EPOCH);

	if (epoch != dev->epoch && hw_check_gone(dev))
		return;
	WRITE_ONCE(dev->error, hw_read(dev, VGPU_REG_ERROR));
	WRITE_ONCE(dev->status, status);
	/* Somebody else has reset the device: what we think is open is not. */
	if (epoch != dev->epoch && !READ_ONCE(dev->down))
		queue_work(vgpu_workqueue, &dev->restart);
}

/*
 * RESULT before STATE: a finished command is never seen with the state before it. And again when
 * the session is dead: it may have died between the two.
 */
static void hw_read_port(struct vgpu_device *dev, u32 sid)
{
	struct vgpu_port *port = &dev->port[sid];
	u32 result = hw_read(dev, VGPU_REG_SESSION_RESULT(sid));
	u32 value = hw_read(dev, VGPU_REG_SESSION_VALUE(sid));
	u32 limit = hw_read(dev, VGPU_REG_SESSION_LIMIT(sid));
	u32 state = hw_read(dev, VGPU_REG_SESSION_STATE(sid));

	if (state > VGPU_SESSION_CLOSING) {
		if (hw_check_gone(dev))
			return;
		state = VGPU_SESSION_DEAD;
		result = VGPU_ERROR_HOST_INTERNAL;
	} else if (state == VGPU_SESSION_DEAD) {
		result = hw_read(dev, VGPU_REG_SESSION_RESULT(sid));
		if (!result || result == VGPU_RESULT_PENDING)
			result = VGPU_ERROR_SESSION_CLOSED;
	}
	WRITE_ONCE(port->value, value);
	WRITE_ONCE(port->limit, limit);
	WRITE_ONCE(port->state, state);
	if (state == VGPU_SESSION_DEAD && !port->cause)
		WRITE_ONCE(port->cause, result);
	/* Pairs with session_answered(). */
	smp_store_release(&port->result, result);
	/*
	 * Calls that do not wait learn of the end by this word. It is guest memory still: extents
	 * of a dead session are taken until CLOSE, and CLOSE takes `sticky` away first.
	 */
	if (state == VGPU_SESSION_DEAD && port->sticky)
		cmpxchg(port->sticky, 0, port->cause);
}

static void hw_wake_port(struct vgpu_port *port)
{
	wake_up_all(&port->wq);
	if (READ_ONCE(port->reaping))
		mod_delayed_work(vgpu_workqueue, &port->reap, 0);
}

/* Vector 0. Without others it is every session's interrupt too, so all sleepers look first. */
static irqreturn_t hw_control_irq(int irq, void *data)
{
	struct vgpu_vector *vector = data;

	if (vector->dev->vectors == 1)
		vgpu_hw_wake(vector->dev);
	return IRQ_WAKE_THREAD;
}

static irqreturn_t hw_control_thread(int irq, void *data)
{
	struct vgpu_device *dev = ((struct vgpu_vector *)data)->dev;
	u32 device, sid;
	u64 events;

	spin_lock(&dev->hw_lock);
	events = hw_read64(dev, VGPU_REG_EVENT_LO);
	device = hw_read(dev, VGPU_REG_EVENT_DEVICE);
	if (device == ~0u && events == ~0ull && hw_check_gone(dev)) {
		spin_unlock(&dev->hw_lock);
		return IRQ_HANDLED;
	}
	/* Acknowledged before it is looked at: what changes from here on sets the bit again. */
	hw_write64(dev, VGPU_REG_EVENT_LO, events);
	hw_write(dev, VGPU_REG_EVENT_DEVICE, device);
	for (sid = 0; sid < dev->ports; sid++)
		if (events >> sid & 1)
			hw_read_port(dev, sid);
	if (device)
		hw_read_status(dev);
	spin_unlock(&dev->hw_lock);

	for (sid = 0; sid < dev->ports; sid++)
		if (events >> sid & 1)
			hw_wake_port(&dev->port[sid]);
	if (device)
		wake_up_all(&dev->wq);
	return IRQ_HANDLED;
}

static irqreturn_t hw_session_irq(int irq, void *data)
{
	struct vgpu_vector *vector = data;
	struct vgpu_device *dev = vector->dev;
	u32 sid;

	for (sid = vector->index - 1; sid < dev->ports; sid += dev->vectors - 1)
		wake_up_all(&dev->port[sid].wq);
	return IRQ_HANDLED;
}

/* Takes what the machine grants, down to one vector. */
int vgpu_hw_request_irqs(struct vgpu_device *dev)
{
	struct pci_dev *pdev = dev->pdev;
	unsigned int i;
	int ret;

	ret = pci_alloc_irq_vectors(pdev, 1, clamp(max_vectors, 1U, 1 + dev->ports), PCI_IRQ_MSIX);
	if (ret < 0) {
		pci_err(pdev, "no MSI-X vector to be had (error %d): is pci=nomsi set?\n", ret);
		return ret;
	}
	dev->vectors = ret;
	for (i = 0; i < dev->vectors; i++) {
		struct vgpu_vector *vector = &dev->vector[i];

		vector->dev = dev;
		vector->index = i;
		snprintf(vector->name, sizeof(vector->name), "vgpu%d-%u", dev->minor, i);
		if (i)
			ret = request_irq(pci_irq_vector(pdev, i), hw_session_irq, 0, vector->name,
					  vector);
		else
			ret = request_threaded_irq(pci_irq_vector(pdev, 0), hw_control_irq,
						   hw_control_thread, 0, vector->name, vector);
		if (ret)
			break;
	}
	if (!i) {
		pci_err(pdev, "cannot take the control interrupt: error %d\n", ret);
		pci_free_irq_vectors(pdev);
		return ret;
	}
	/* Nothing fires before vgpu_hw_start() has told the device this number. */
	dev->vectors = i;
	return 0;
}

void vgpu_hw_free_irqs(struct vgpu_device *dev)
{
	unsigned int i;

	for (i = 0; i < dev->vectors; i++)
		free_irq(pci_irq_vector(dev->pdev, i), &dev->vector[i]);
	pci_free_irq_vectors(dev->pdev);
}

/* Reads what never changes; a window or version that differs after a resume is an error. */
int vgpu_hw_identify(struct vgpu_device *dev)
{
	struct pci_dev *pdev = dev->pdev;
	u32 magic, version, ports;
	u64 addr, bytes;

	spin_lock(&dev->hw_lock);
	magic = hw_read(dev, VGPU_REG_MAGIC);
	WRITE_ONCE(dev->gone, magic != VGPU_DEVICE_MAGIC);
	version = hw_read(dev, VGPU_REG_VERSION);
	ports = hw_read(dev, VGPU_REG_SESSIONS);
	addr = hw_read64(dev, VGPU_REG_WINDOW_ADDR_LO);
	bytes = hw_read64(dev, VGPU_REG_WINDOW_SIZE_LO);
	spin_unlock(&dev->hw_lock);

	if (magic != VGPU_DEVICE_MAGIC) {
		pci_err(pdev, "register MAGIC reads %#x, not %#x: not a vgpu, or it is gone\n",
			magic, VGPU_DEVICE_MAGIC);
		return -ENODEV;
	}
	if (version >> 16 != VGPU_DEVICE_VERSION_MAJOR) {
		pci_err(pdev, "device version %u.%u, this driver needs %u.x: update the older one\n",
			version >> 16, version & 0xffff, VGPU_DEVICE_VERSION_MAJOR);
		return -EPROTONOSUPPORT;
	}
	if (!ports || ports > VGPU_DEVICE_SESSIONS) {
		pci_err(pdev, "%u session ids, a device has 1 to %u\n", ports,
			VGPU_DEVICE_SESSIONS);
		return -EPROTO;
	}
	if (dev->ports && (ports != dev->ports || addr != dev->window_addr ||
			   bytes != dev->window_bytes)) {
		pci_err(pdev, "came back with a window of %llu bytes at %#llx, was %llu at %#llx\n",
			bytes, addr, dev->window_bytes, (u64)dev->window_addr);
		return -ENODEV;
	}
	dev->version = version;
	dev->ports = ports;
	dev->window_addr = addr;
	dev->window_bytes = bytes;
	return 0;
}

/* After probe, reset or resume: everything that the device forgets then. */
int vgpu_hw_start(struct vgpu_device *dev)
{
	u32 features;

	spin_lock(&dev->hw_lock);
	features = hw_read(dev, VGPU_REG_FEATURES);
	hw_write(dev, VGPU_REG_DRIVER_FEATURES, VGPU_DEVICE_FEATURE_BASE);
	hw_write(dev, VGPU_REG_VECTORS, dev->vectors);
	dev->epoch = hw_read(dev, VGPU_REG_EPOCH);
	hw_read_status(dev);
	spin_unlock(&dev->hw_lock);
	if (dev->gone)
		return -ENODEV;
	if (!(features & VGPU_DEVICE_FEATURE_BASE)) {
		pci_err(dev->pdev, "features %#x lack %#x: update the host\n", features,
			VGPU_DEVICE_FEATURE_BASE);
		return -EPROTO;
	}
	return 0;
}

/* Ends all sessions on the device's side, also those of a kernel before us. */
void vgpu_hw_reset(struct vgpu_device *dev)
{
	u32 sid;

	spin_lock(&dev->hw_lock);
	WRITE_ONCE(dev->gone, hw_read(dev, VGPU_REG_MAGIC) != VGPU_DEVICE_MAGIC);
	if (!dev->gone)
		hw_write(dev, VGPU_REG_RESET, 1);
	for (sid = 0; sid < dev->ports; sid++) {
		struct vgpu_port *port = &dev->port[sid];

		port->sticky = NULL;
		port->state = VGPU_SESSION_FREE;
		port->result = 0;
		port->cause = 0;
	}
	dev->epoch = hw_read(dev, VGPU_REG_EPOCH);
	hw_read_status(dev);
	spin_unlock(&dev->hw_lock);
}

/* No register is touched after this. */
void vgpu_hw_stop(struct vgpu_device *dev)
{
	spin_lock(&dev->hw_lock);
	dev->present = false;
	WRITE_ONCE(dev->gone, true);
	spin_unlock(&dev->hw_lock);
}

u32 vgpu_hw_status(struct vgpu_device *dev, u32 *ret_error)
{
	u32 status, error;

	spin_lock(&dev->hw_lock);
	hw_read_status(dev);
	status = dev->gone ? 0 : dev->status;
	error = dev->gone ? VGPU_ERROR_SESSION_UNPLUGGED : dev->error;
	spin_unlock(&dev->hw_lock);
	if (ret_error)
		*ret_error = error;
	return status;
}

void vgpu_hw_refresh(struct vgpu_device *dev, u32 sid)
{
	spin_lock(&dev->hw_lock);
	hw_read_port(dev, sid);
	spin_unlock(&dev->hw_lock);
}

/* The caller sees to it that no other command of this session is under way. */
void vgpu_hw_command(struct vgpu_device *dev, u32 sid, enum vgpu_command op, u64 arg0, u64 arg1,
		     u64 arg2)
{
	struct vgpu_port *port = &dev->port[sid];

	spin_lock(&dev->hw_lock);
	if (op == VGPU_COMMAND_CLOSE)
		port->sticky = NULL;
	if (op == VGPU_COMMAND_OPEN)
		WRITE_ONCE(port->cause, 0);
	WRITE_ONCE(port->result, VGPU_RESULT_PENDING);
	hw_write64(dev, VGPU_REG_ARG0_LO, arg0);
	hw_write64(dev, VGPU_REG_ARG1_LO, arg1);
	hw_write64(dev, VGPU_REG_ARG2_LO, arg2);
	hw_write(dev, VGPU_REG_COMMAND, VGPU_COMMAND(op, sid));
	spin_unlock(&dev->hw_lock);
}

/* From now on a death of the session is written there. It may have died already. */
void vgpu_hw_watch(struct vgpu_device *dev, u32 sid, u32 *sticky)
{
	spin_lock(&dev->hw_lock);
	dev->port[sid].sticky = sticky;
	hw_read_port(dev, sid);
	spin_unlock(&dev->hw_lock);
}
