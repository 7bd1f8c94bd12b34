// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which 2 MiB extents of the window are taken.
 *
 * Fairness: after a request a file may hold at most VGPU_EXTENT_SHARE times what is then free.
 * Alone it gets 8/9 of the window, two greedy ones 8/17 each, and so on, and what is left always
 * suffices for a newcomer's first extents (the rule is the "dynamic threshold" of shared packet
 * buffers). VGPU_EXTENT_FLOOR extents are allowed to everybody as long as there are any.
 *
 * A request is first reserved as a whole, then taken in runs: so two that grow at the same time
 * cannot both fail halfway.
 */
#include <linux/bitmap.h>
#include <linux/slab.h>

#include "vgpu_drv.h"

int vgpu_extent_init(struct vgpu_device *dev)
{
	dev->extents = dev->window_bytes >> VGPU_EXTENT_SHIFT;
	dev->extents_free = dev->extents;
	dev->extent_map = bitmap_zalloc(dev->extents, GFP_KERNEL);
	return dev->extent_map ? 0 : -ENOMEM;
}

/* Only when no session is left and the device has been reset. */
void vgpu_extent_reset(struct vgpu_device *dev)
{
	lockdep_assert_held(&dev->lock);
	bitmap_zero(dev->extent_map, dev->extents);
	dev->extents_free = dev->extents;
}

/* `held`: what the file has. On refusal *ret_allowed is how many it may add now. */
bool vgpu_extent_reserve(struct vgpu_device *dev, u32 held, u32 count, u32 *ret_allowed)
{
	u64 most;
	u32 allowed;
	bool ok;

	mutex_lock(&dev->lock);
	/* held + n <= SHARE * (free - n), solved for held + n */
	most = div_u64((u64)VGPU_EXTENT_SHARE * ((u64)dev->extents_free + held),
		       VGPU_EXTENT_SHARE + 1);
	most = max_t(u64, most, VGPU_EXTENT_FLOOR);
	allowed = most > held ? min_t(u64, most - held, dev->extents_free) : 0;
	ok = count <= allowed;
	if (ok)
		dev->extents_free -= count;
	mutex_unlock(&dev->lock);
	if (!ok)
		*ret_allowed = allowed;
	return ok;
}

void vgpu_extent_unreserve(struct vgpu_device *dev, u32 count)
{
	mutex_lock(&dev->lock);
	dev->extents_free += count;
	mutex_unlock(&dev->lock);
}

/*
 * Takes up to `count` neighbours out of what was reserved and returns how many: the smallest gap
 * that holds all, else the largest there is.
 */
u32 vgpu_extent_take(struct vgpu_device *dev, u32 count, u32 *ret_first)
{
	unsigned long at = 0, end, best = 0, best_size = 0;

	mutex_lock(&dev->lock);
	for (;;) {
		unsigned long size;

		at = find_next_zero_bit(dev->extent_map, dev->extents, at);
		if (at >= dev->extents)
			break;
		end = find_next_bit(dev->extent_map, dev->extents, at);
		size = end - at;
		if (best_size < count ? size > best_size : size >= count && size < best_size) {
			best = at;
			best_size = size;
		}
		at = end;
	}
	count = min_t(unsigned long, count, best_size);
	if (count)
		bitmap_set(dev->extent_map, best, count);
	mutex_unlock(&dev->lock);
	*ret_first = best;
	return count;
}

/* Only after the device has said FREE, or for extents that no command has named. */
void vgpu_extent_give(struct vgpu_device *dev, u32 first, u32 count)
{
	lockdep_assert_held(&dev->lock);
	bitmap_clear(dev->extent_map, first, count);
	dev->extents_free += count;
}
