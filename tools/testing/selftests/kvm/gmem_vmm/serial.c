// SPDX-License-Identifier: GPL-2.0-only
/*
 * A 16550 whose bytes are sent at once, and that never receives any: enough for
 * the 8250 driver, as console and as a tty.
 */
#include <linux/serial_reg.h>

#include "vmm.h"

#define IIR_16550A		0xc0	/* the FIFOs are there, and on */

static void update_irq(struct serial *serial)
{
	bool line = serial->sent && (serial->ier & UART_IER_THRI);

	if (line != serial->line) {
		serial->line = line;
		vm_irq(serial->vm, serial->irq, line);
	}
}

bool serial_has(const struct serial *serial, __u16 port)
{
	return port >= serial->port && port < serial->port + 8;
}

/* Reading the register says which interrupt there is, and that one is served by that. */
static __u8 read_iir(struct serial *serial)
{
	__u8 fifo = serial->fcr & UART_FCR_ENABLE_FIFO ? IIR_16550A : 0;

	if (!serial->line)
		return fifo | UART_IIR_NO_INT;
	serial->sent = false;
	update_irq(serial);
	return fifo | UART_IIR_THRI;
}

__u8 serial_read(struct serial *serial, __u16 port)
{
	unsigned int reg = port - serial->port;

	if ((serial->lcr & UART_LCR_DLAB) && reg <= UART_DLM)
		return serial->divisor[reg];
	switch (reg) {
	case UART_IER:
		return serial->ier;
	case UART_IIR:
		return read_iir(serial);
	case UART_LCR:
		return serial->lcr;
	case UART_MCR:
		return serial->mcr;
	case UART_LSR:
		return UART_LSR_TEMT | UART_LSR_THRE;
	case UART_MSR:
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	case UART_SCR:
		return serial->scratch;
	default:
		return 0;
	}
}

void serial_write(struct serial *serial, __u16 port, __u8 value)
{
	unsigned int reg = port - serial->port;

	if ((serial->lcr & UART_LCR_DLAB) && reg <= UART_DLM) {
		serial->divisor[reg] = value;
		return;
	}
	switch (reg) {
	case UART_TX:
		serial->put(serial->vm, value);
		serial->sent = true;
		break;
	case UART_IER:
		/* Who asks to be told while there is nothing to send is told so. */
		if (value & ~serial->ier & UART_IER_THRI)
			serial->sent = true;
		serial->ier = value & 0xf;
		break;
	case UART_FCR:
		serial->fcr = value;
		break;
	case UART_LCR:
		serial->lcr = value;
		break;
	case UART_MCR:
		serial->mcr = value;
		break;
	case UART_SCR:
		serial->scratch = value;
		break;
	}
	update_irq(serial);
}
