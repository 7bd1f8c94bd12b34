// SPDX-License-Identifier: MIT
/*
 * A guest without an operating system that drives the vgpu-stub: QEMU loads it with -kernel
 * (multiboot). It runs also where KVM is too broken for Linux, and so shows ioeventfd and irqfd.
 * What it finds goes to the debug console, the verdict to isa-debug-exit (0xf4).
 *
 * Built by test_stub.py, for 32 bits and without a C library.
 */
typedef unsigned char u8;
typedef unsigned int u32;

#include "protocol/device/device.h"

#define CONSOLE 0x402
#define EXIT 0xf4
#define VECTOR0 0x40
#define ROUNDS 2000

__attribute__((section(".text.header"), used)) static const u32 multiboot[3] = { 0x1badb002, 0, -0x1badb002u };

volatile u32 fired[4];
static u32 idt[256][2];
static u8 stack[16384] __attribute__((aligned(16)));
static volatile u32 *bar0, *msix;

static void outb(u32 port, u8 v) { __asm__ volatile("outb %0, %w1" : : "a"(v), "d"(port)); }
static void outl(u32 port, u32 v) { __asm__ volatile("outl %0, %w1" : : "a"(v), "d"(port)); }

static u32 inl(u32 port)
{
	u32 v;

	__asm__ volatile("inl %w1, %0" : "=a"(v) : "d"(port));
	return v;
}

static void print(const char *text)
{
	while (*text)
		outb(CONSOLE, (u8)*text++);
}

static void print_number(const char *text, u32 n)
{
	char digits[12];
	int i = 11;

	digits[i] = 0;
	do {
		digits[--i] = (char)('0' + n % 10);
	} while (n /= 10);
	print(text);
	print(digits + i);
	print("\n");
}

static void fail(const char *what)
{
	print("FAILED: ");
	print(what);
	print("\n");
	outl(EXIT, 1);
	for (;;)
		__asm__ volatile("hlt");
}

/* Counts, ends the interrupt, and returns without IRET, which a KVM that has to emulate cannot do. */
#define HANDLER(n) \
	void handler##n(void); \
	__asm__("handler" #n ":\n\t" \
		"incl fired + 4 * " #n "\n\t" \
		"movl $0, 0xfee000b0\n\t" \
		"pushl 8(%esp)\n\t" \
		"popfl\n\t" \
		"ret $8")
HANDLER(0);
HANDLER(1);
HANDLER(2);
HANDLER(3);

/* Sleeps until the counter of a vector has passed `before`. */
static void wait_for(u32 vector, u32 before)
{
	for (;;) {
		__asm__ volatile("cli");
		if (fired[vector] != before)
			break;
		__asm__ volatile("sti; hlt");
	}
	__asm__ volatile("sti");
}

static u32 config_read(u32 dev, u32 offset)
{
	outl(0xcf8, 0x80000000 | dev << 11 | offset);
	return inl(0xcfc);
}

static void config_write(u32 dev, u32 offset, u32 value)
{
	outl(0xcf8, 0x80000000 | dev << 11 | offset);
	outl(0xcfc, value);
}

static u32 reg(u32 offset) { return bar0[offset / 4]; }
static void set(u32 offset, u32 value) { bar0[offset / 4] = value; }
static void mask(u32 vector, u32 on) { msix[vector * 4 + 3] = on; }

static u32 find_device(void)
{
	for (u32 dev = 0; dev < 32; dev++)
		if (config_read(dev, 0) == (VGPU_PCI_DEVICE << 16 | VGPU_PCI_VENDOR))
			return dev;
	fail("no vgpu-stub on bus 0");
	return 0;
}

static void start_interrupts(u32 dev)
{
	void *handlers[4] = { handler0, handler1, handler2, handler3 };
	struct __attribute__((packed)) {
		unsigned short limit;
		u32 base;
	} idtr = { sizeof(idt) - 1, (u32)idt };
	unsigned short cs;
	u32 cap;

	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	for (u32 i = 0; i < 4; i++) {
		u32 at = (u32)handlers[i];

		idt[VECTOR0 + i][0] = (u32)cs << 16 | (at & 0xffff);
		idt[VECTOR0 + i][1] = (at & 0xffff0000) | 0x8e00;
	}
	__asm__ volatile("lidt %0" : : "m"(idtr));
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	*(volatile u32 *)0xfee000f0 = 0x1ff;
	*(volatile u32 *)0xfee00080 = 0;

	for (cap = config_read(dev, 0x34) & 0xff; cap && (config_read(dev, cap) & 0xff) != 0x11;)
		cap = config_read(dev, cap) >> 8 & 0xff;
	if (!cap || config_read(dev, cap + 4) != 1)
		fail("MSI-X is not in BAR 1");
	for (u32 i = 0; i < 4; i++) {
		msix[i * 4 + 0] = 0xfee00000;
		msix[i * 4 + 1] = 0;
		msix[i * 4 + 2] = VECTOR0 + i;
		mask(i, 0);
	}
	config_write(dev, cap, config_read(dev, cap) | 0x80000000);
	__asm__ volatile("sti");
}

static void wait_linked(void)
{
	while ((reg(VGPU_REG_STATUS) & (VGPU_STATUS_LINKED | VGPU_STATUS_RESETTING)) != VGPU_STATUS_LINKED)
		__asm__ volatile("pause");
}

static void open_session(u32 sid)
{
	u32 before = fired[0];

	set(VGPU_REG_ARG0_LO, sid * VGPU_CONTROL_BYTES);
	set(VGPU_REG_COMMAND, VGPU_COMMAND(VGPU_COMMAND_OPEN, sid));
	while (reg(VGPU_REG_SESSION_RESULT(sid)) == VGPU_RESULT_PENDING)
		wait_for(0, before), before = fired[0];
	if (reg(VGPU_REG_SESSION_STATE(sid)) != VGPU_SESSION_OPEN)
		fail("OPEN");
}

/* Rings a doorbell; the other side answers each with an interrupt. */
static void ring(u32 sid, u32 vector, u32 rounds)
{
	for (u32 i = 0; i < rounds; i++) {
		u32 before = fired[vector];

		set(VGPU_DEVICE_DOORBELLS + sid * VGPU_DEVICE_PAGE_BYTES, 0);
		wait_for(vector, before);
	}
}

static void masked_vector(void)
{
	volatile u32 *pending = (volatile u32 *)((u8 *)msix + 0x800);
	u32 before = fired[1];

	mask(1, 1);
	set(VGPU_DEVICE_DOORBELLS, 0);
	while (!(*pending & 2))
		__asm__ volatile("pause");
	if (fired[1] != before)
		fail("a masked vector has fired");
	mask(1, 0);
	wait_for(1, before);
	ring(0, 1, 10);
}

static void __attribute__((used)) run(void)
{
	u32 dev = find_device();

	bar0 = (volatile u32 *)(config_read(dev, 0x10) & ~15u);
	msix = (volatile u32 *)(config_read(dev, 0x14) & ~15u);
	config_write(dev, 4, config_read(dev, 4) | 6);
	if (reg(VGPU_REG_MAGIC) != VGPU_DEVICE_MAGIC)
		fail("magic");
	start_interrupts(dev);
	wait_linked();

	set(VGPU_REG_VECTORS, 4);
	for (u32 sid = 0; sid < 4; sid++)
		open_session(sid);
	for (u32 sid = 0; sid < 4; sid++)
		ring(sid, 1 + sid % 3, ROUNDS);
	print_number("rounds ", ROUNDS * 4);
	print_number("vector 1 ", fired[1]);
	print_number("vector 2 ", fired[2]);
	print_number("vector 3 ", fired[3]);
	masked_vector();
	print("masked vectors wait\n");

	set(VGPU_REG_VECTORS, 1);
	ring(2, 0, 10);
	set(VGPU_REG_VECTORS, 2);
	ring(2, 1, 10);
	print("sessions change vectors\n");

	set(VGPU_REG_RESET, 1);
	wait_linked();
	open_session(1);
	ring(1, 0, 10);
	print("sessions after a reset\n");
	outl(EXIT, 0);
}

/* The header comes first in the file. */
__attribute__((naked, used, section(".text.start"))) void _start(void);
void _start(void)
{
	__asm__ volatile("mov %0, %%esp\n\tcall run\n\thlt" : : "i"(stack + sizeof(stack) - 16));
}
