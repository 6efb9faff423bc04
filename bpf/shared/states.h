/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The states of connections: which one follows from a packet, how long it lasts without one, and whether it counts as
 * active. TCP and SCTP are the kernel's machines (net/netfilter/ipvs/ip_vs_proto_{tcp,sctp}.c): they look at flags and
 * chunk types alone, never at sequence numbers, so a packet out of window is no reason to stop forwarding. UDP has one state.
 * Compiled by clang -target bpf (C11) and by C++20.
 */
#ifndef SLUICE_SHARED_STATES_H
#define SLUICE_SHARED_STATES_H
#ifndef __VMLINUX_H__ /* vmlinux.h already has these types */
#include <linux/types.h>
#endif

/* X(NAME, text, seconds): in the kernel's numbers, which are those of the sync protocol, too. */
#define SLUICE_TCP_STATES(X)               \
	X(NONE, "NONE", 2)                 \
	X(ESTABLISHED, "ESTABLISHED", 900) \
	X(SYN_SENT, "SYN_SENT", 120)       \
	X(SYN_RECV, "SYN_RECV", 60)        \
	X(FIN_WAIT, "FIN_WAIT", 120)       \
	X(TIME_WAIT, "TIME_WAIT", 120)     \
	X(CLOSE, "CLOSE", 10)              \
	X(CLOSE_WAIT, "CLOSE_WAIT", 60)    \
	X(LAST_ACK, "LAST_ACK", 30)        \
	X(LISTEN, "LISTEN", 120)           \
	X(SYNACK, "SYNACK", 120)

#define SLUICE_SCTP_STATES(X)                  \
	X(NONE, "NONE", 2)                     \
	X(INIT1, "INIT1", 4)                   \
	X(INIT, "INIT", 61)                    \
	X(COOKIE_SENT, "C-SENT", 61)           \
	X(COOKIE_REPLIED, "C-REPLIED", 61)     \
	X(COOKIE_WAIT, "C-WAIT", 61)           \
	X(COOKIE, "COOKIE", 61)                \
	X(COOKIE_ECHOED, "C-ECHOED", 61)       \
	X(ESTABLISHED, "ESTABLISHED", 900)     \
	X(SHUTDOWN_SENT, "S-SENT", 61)         \
	X(SHUTDOWN_RECEIVED, "S-RECEIVED", 61) \
	X(SHUTDOWN_ACK_SENT, "S-ACK-SENT", 61) \
	X(REJECTED, "REJECTED", 4)             \
	X(CLOSED, "CLOSED", 61)

#define SLUICE_UDP_STATES(X) X(NORMAL, "UDP", 300)

enum {
#define X(name, text, seconds) SLUICE_TCP_##name,
	SLUICE_TCP_STATES(X)
#undef X
	SLUICE_TCP_STATE_COUNT,
};

enum {
#define X(name, text, seconds) SLUICE_SCTP_##name,
	SLUICE_SCTP_STATES(X)
#undef X
	SLUICE_SCTP_STATE_COUNT,
};

#define SLUICE_UDP_NORMAL 0

/* Seconds that an entry lasts before its first packet has set a state, and after its time when it is still needed. */
#define SLUICE_FRESH_S 3
#define SLUICE_STILL_NEEDED_S 60

/* Where a packet comes from. IN_ONLY: from the client, and the replies do not pass here (direct route, tunnel). */
enum {
	SLUICE_IN,
	SLUICE_OUT,
	SLUICE_IN_ONLY,
	SLUICE_DIRECTION_COUNT,
};

enum {
	SLUICE_TCP_EVENT_SYN, /* and SYN+ACK */
	SLUICE_TCP_EVENT_FIN,
	SLUICE_TCP_EVENT_ACK,
	SLUICE_TCP_EVENT_RST,
	SLUICE_TCP_EVENT_COUNT,
	SLUICE_TCP_EVENT_NOTHING = SLUICE_TCP_EVENT_COUNT, /* none of these flags */
};

enum {
	SLUICE_SCTP_EVENT_DATA, /* and every chunk that means nothing here */
	SLUICE_SCTP_EVENT_INIT,
	SLUICE_SCTP_EVENT_INIT_ACK,
	SLUICE_SCTP_EVENT_COOKIE_ECHO,
	SLUICE_SCTP_EVENT_COOKIE_ACK,
	SLUICE_SCTP_EVENT_SHUTDOWN,
	SLUICE_SCTP_EVENT_SHUTDOWN_ACK,
	SLUICE_SCTP_EVENT_SHUTDOWN_COMPLETE,
	SLUICE_SCTP_EVENT_ERROR,
	SLUICE_SCTP_EVENT_ABORT,
	SLUICE_SCTP_EVENT_COUNT,
};

/* Rows are padded to 16, so that an index can be cut to size without a comparison. */
#define SLUICE_STATE_ROW 16

/* clang-format off */
#define NO SLUICE_TCP_NONE
#define ES SLUICE_TCP_ESTABLISHED
#define SS SLUICE_TCP_SYN_SENT
#define SR SLUICE_TCP_SYN_RECV
#define FW SLUICE_TCP_FIN_WAIT
#define TW SLUICE_TCP_TIME_WAIT
#define CL SLUICE_TCP_CLOSE
#define CW SLUICE_TCP_CLOSE_WAIT
#define LA SLUICE_TCP_LAST_ACK
#define LI SLUICE_TCP_LISTEN
#define SA SLUICE_TCP_SYNACK
/* The second three are those of secure_tcp: a SYN alone does not make a connection look established. */
static const __u8 sluice_tcp_transitions[2 * SLUICE_DIRECTION_COUNT][SLUICE_TCP_EVENT_COUNT][SLUICE_STATE_ROW] = {
	/* from: NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA */
	/* in */
	{
		{ SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR }, /* syn */
		{ CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW }, /* fin */
		{ ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES }, /* ack */
		{ CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR }, /* rst */
	},
	/* out */
	{
		{ SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR }, /* syn */
		{ TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW }, /* fin */
		{ ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES }, /* ack */
		{ CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL }, /* rst */
	},
	/* in-only */
	{
		{ SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR }, /* syn */
		{ CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW }, /* fin */
		{ ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES }, /* ack */
		{ CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL }, /* rst */
	},
	/* secure, in */
	{
		{ SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SA }, /* syn */
		{ CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, SA }, /* fin */
		{ ES, ES, SS, SR, FW, TW, CL, CW, CL, LI, SA }, /* ack */
		{ CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL }, /* rst */
	},
	/* secure, out */
	{
		{ SS, ES, SS, SA, SS, SS, SS, SS, SS, LI, SA }, /* syn */
		{ TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW }, /* fin */
		{ ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES }, /* ack */
		{ CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL }, /* rst */
	},
	/* secure, in-only */
	{
		{ SA, ES, ES, SR, SA, SA, SA, SA, SA, SA, SA }, /* syn */
		{ CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW }, /* fin */
		{ ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES }, /* ack */
		{ CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL }, /* rst */
	},
};
#undef NO
#undef ES
#undef SS
#undef SR
#undef FW
#undef TW
#undef CL
#undef CW
#undef LA
#undef LI
#undef SA

#define NO SLUICE_SCTP_NONE
#define I1 SLUICE_SCTP_INIT1
#define IN SLUICE_SCTP_INIT
#define CS SLUICE_SCTP_COOKIE_SENT
#define CR SLUICE_SCTP_COOKIE_REPLIED
#define CW SLUICE_SCTP_COOKIE_WAIT
#define CO SLUICE_SCTP_COOKIE
#define CE SLUICE_SCTP_COOKIE_ECHOED
#define ES SLUICE_SCTP_ESTABLISHED
#define SS SLUICE_SCTP_SHUTDOWN_SENT
#define SR SLUICE_SCTP_SHUTDOWN_RECEIVED
#define SA SLUICE_SCTP_SHUTDOWN_ACK_SENT
#define RJ SLUICE_SCTP_REJECTED
#define CL SLUICE_SCTP_CLOSED
static const __u8 sluice_sctp_transitions[SLUICE_DIRECTION_COUNT][SLUICE_SCTP_EVENT_COUNT][SLUICE_STATE_ROW] = {
	/* from: NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL */
	/* in */
	{
		{ ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL }, /* data */
		{ I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN }, /* INIT */
		{ CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL }, /* INIT-ACK */
		{ CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL }, /* COOKIE-ECHO */
		{ ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL }, /* COOKIE-ACK */
		{ SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL }, /* SHUTDOWN */
		{ CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL }, /* SHUTDOWN-ACK */
		{ CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL }, /* SHUTDOWN-COMPLETE */
		{ CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL }, /* ERROR */
		{ CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL }, /* ABORT */
	},
	/* out */
	{
		{ ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL }, /* data */
		{ CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW }, /* INIT */
		{ CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL }, /* INIT-ACK */
		{ CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL }, /* COOKIE-ECHO */
		{ ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL }, /* COOKIE-ACK */
		{ SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL }, /* SHUTDOWN */
		{ SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL }, /* SHUTDOWN-ACK */
		{ CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL }, /* SHUTDOWN-COMPLETE */
		{ CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL }, /* ERROR */
		{ CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL }, /* ABORT */
	},
	/* in-only */
	{
		{ ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL }, /* data */
		{ I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN }, /* INIT */
		{ CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL }, /* INIT-ACK */
		{ ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL }, /* COOKIE-ECHO */
		{ ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL }, /* COOKIE-ACK */
		{ SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL }, /* SHUTDOWN */
		{ CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL }, /* SHUTDOWN-ACK */
		{ CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL }, /* SHUTDOWN-COMPLETE */
		{ CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL }, /* ERROR */
		{ CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL }, /* ABORT */
	},
};
#undef NO
#undef I1
#undef IN
#undef CS
#undef CR
#undef CW
#undef CO
#undef CE
#undef ES
#undef SS
#undef SR
#undef SA
#undef RJ
#undef CL
/* clang-format on */

/* The flag bits of the TCP header's 14th byte. */
#define SLUICE_TCP_FIN 0x01u
#define SLUICE_TCP_SYN 0x02u
#define SLUICE_TCP_RST 0x04u
#define SLUICE_TCP_ACK 0x10u

static inline __u32 sluice_tcp_event(__u32 flags)
{
	if (flags & SLUICE_TCP_RST)
		return SLUICE_TCP_EVENT_RST;
	if (flags & SLUICE_TCP_SYN)
		return SLUICE_TCP_EVENT_SYN;
	if (flags & SLUICE_TCP_FIN)
		return SLUICE_TCP_EVENT_FIN;
	return flags & SLUICE_TCP_ACK ? SLUICE_TCP_EVENT_ACK : SLUICE_TCP_EVENT_NOTHING;
}

static inline __u32 sluice_tcp_next_state(__u32 state, __u32 direction, __u32 event, int secure)
{
	if (event >= SLUICE_TCP_EVENT_COUNT || direction >= SLUICE_DIRECTION_COUNT || state >= SLUICE_TCP_STATE_COUNT)
		return SLUICE_TCP_CLOSE;
	return sluice_tcp_transitions[direction + (secure ? (__u32)SLUICE_DIRECTION_COUNT : 0u)][event][state];
}

/* The event of a packet's first chunk; `next` is the type of the chunk behind it, or 0 (DATA) without one. */
static inline __u32 sluice_sctp_event(__u32 type, __u32 next)
{
	if ((type == 10 || type == 11) && next == 6)
		return SLUICE_SCTP_EVENT_ABORT;
	switch (type) {
	case 1:
		return SLUICE_SCTP_EVENT_INIT;
	case 2:
		return SLUICE_SCTP_EVENT_INIT_ACK;
	case 6:
		return SLUICE_SCTP_EVENT_ABORT;
	case 7:
		return SLUICE_SCTP_EVENT_SHUTDOWN;
	case 8:
		return SLUICE_SCTP_EVENT_SHUTDOWN_ACK;
	case 9:
		return SLUICE_SCTP_EVENT_ERROR;
	case 10:
		return SLUICE_SCTP_EVENT_COOKIE_ECHO;
	case 11:
		return SLUICE_SCTP_EVENT_COOKIE_ACK;
	case 14:
		return SLUICE_SCTP_EVENT_SHUTDOWN_COMPLETE;
	default:
		return SLUICE_SCTP_EVENT_DATA;
	}
}

static inline __u32 sluice_sctp_next_state(__u32 state, __u32 direction, __u32 event)
{
	if (event >= SLUICE_SCTP_EVENT_COUNT || direction >= SLUICE_DIRECTION_COUNT || state >= SLUICE_SCTP_STATE_COUNT)
		return SLUICE_SCTP_CLOSED;
	return sluice_sctp_transitions[direction][event][state];
}

/* ActiveConn counts these, InActConn all others; UDP is never active. */
static inline __u32 sluice_tcp_active(__u32 state)
{
	const __u32 active = 1u << SLUICE_TCP_ESTABLISHED | 1u << SLUICE_TCP_SYN_SENT | 1u << SLUICE_TCP_SYN_RECV |
			     1u << SLUICE_TCP_SYNACK;

	return active >> state & 1;
}

static inline __u32 sluice_sctp_active(__u32 state)
{
	return state == SLUICE_SCTP_ESTABLISHED;
}

#endif
