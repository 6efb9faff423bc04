/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The engine's tables, as they lie in maps that outlive every process: their layout is ABI while pins exist, and the
 * folder of pins is named for it (SLUICE_LAYOUT). Compiled by clang -target bpf (C11) and by C++20.
 *
 * Everything large is in *chunks*: arrays of SLUICE_CHUNK elements that can be mapped, behind one array of maps for each table, so that
 * a table grows while packets use it.
 */
#ifndef SLUICE_SHARED_LB_MAPS_H
#define SLUICE_SHARED_LB_MAPS_H
#include "connection.h"
#include "states.h"
#include "view.h"

#define SLUICE_LAYOUT "v2"

#define SLUICE_CHUNK_BITS 14u
#define SLUICE_CHUNK (1u << SLUICE_CHUNK_BITS)
#define SLUICE_CHUNKS_MAX 4096u
#define SLUICE_SERVICES_MAX 262144u /* keys; memory is taken as they come */
#define SLUICE_ALLOWED_MAX 1048576u
#define SLUICE_DEVICES_MAX 65536u
#define SLUICE_FRAGMENTS_MAX 8192u

/* Key of `sluice_service_id`. A firewall mark: protocol and port 0, the mark in host order in the first four bytes. */
struct sluice_service_key {
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 port;
	__u8 protocol; /* IPPROTO_* */
	__u8 family;   /* 4 or 6 */
} __attribute__((aligned(4)));
static_assert(sizeof(struct sluice_service_key) == 20, "sluice_service_key is map ABI");

/* Value of `sluice_rule`, by the key of a virtual server: whose source is replaced, and who may come in. The key of a rule for that port of every
 * address that has no rule of its own (a node port) has the address zero. */
struct sluice_rule {
	__u32 flags; /* SLUICE_RULE_* */
	__u32 zero;
};
static_assert(sizeof(struct sluice_rule) == 8, "sluice_rule is map ABI");
#define SLUICE_RULE_MASQUERADE_OTHERS 0x1u /* clients that are neither pods nor the node */
#define SLUICE_RULE_MASQUERADE_ALL 0x2u
#define SLUICE_RULE_FILTERED 0x4u /* only sources that `sluice_allowed` has */

/* Key of `sluice_allowed`, longest prefix first: a network that may come in to the virtual server of a rule. */
struct sluice_allowed_key {
	__u32 prefix; /* bits that count: the service's 160, and those of the source (IPv4: 96 more) */
	struct sluice_service_key service;
	__u8 source[16];
};
static_assert(sizeof(struct sluice_allowed_key) == 40, "sluice_allowed_key is map ABI");
#define SLUICE_ALLOWED_SERVICE_BITS 160u

/* Value of `sluice_device`, by the number of a device. One that is not there has no flags. */
struct sluice_device {
	__u8 bridge[6]; /* of a bridge's port: the bridge's hardware address */
	__u8 zero[26];
	__u32 flags; /* SLUICE_DEVICE_* */
	__u32 zero_too;
};
static_assert(sizeof(struct sluice_device) == 40, "sluice_device is map ABI");
#define SLUICE_DEVICE_POD4 0x1u /* what comes in by it is from a pod, by the rules of IPv4 */
#define SLUICE_DEVICE_POD6 0x2u /* or of IPv6 */
#define SLUICE_DEVICE_BRIDGE_PORT \
	0x4u                  /* what comes in by it is for this node if it has the bridge's hardware address */
#define SLUICE_DEVICE_L3 0x8u /* its packets begin with the IP header */

/* `sluice_known`: a bit for each virtual server, by a hash of its address, port and protocol. Bits of others may be set. */
#define SLUICE_KNOWN_BITS 20u
#define SLUICE_KNOWN_WORDS (1u << (SLUICE_KNOWN_BITS - 6))

/* Key of `sluice_fragment`: whose later parts a fragment's are. */
struct sluice_fragment_key {
	__u8 source[16];
	__u8 target[16];
	__u32 identification;
	__u8 protocol;
	__u8 family;
	__u16 zero;
};
static_assert(sizeof(struct sluice_fragment_key) == 40, "sluice_fragment_key is map ABI");

/* Key of `sluice_destination`: which real servers had it is remembered for lblc and lblcr. */
struct sluice_destination_key {
	__u8 address[16];
	__u32 service;
	__u32 family;
};
static_assert(sizeof(struct sluice_destination_key) == 24, "sluice_destination_key is map ABI");
#define SLUICE_DESTINATIONS_MAX 8192u /* 2 MB; the one that was unused for longest is forgotten */
#define SLUICE_DESTINATION_EXPIRATION_S 86400u

/* The connection of the first fragment, which has the ports. */
struct sluice_fragment {
	__u32 link;
	__u32 generation;
};
static_assert(sizeof(struct sluice_fragment) == 8, "sluice_fragment is map ABI");

/* What packets are counted in. */
struct sluice_counts {
	__u64 connections;
	__u64 packets_in; /* from clients */
	__u64 bytes_in;
	__u64 packets_out;
	__u64 bytes_out;
};
static_assert(sizeof(struct sluice_counts) == 40, "sluice_counts is map ABI");

/* Element of `sluice_count`: of real server n, stripe s of S is element n * S + s. Only packets write it. */
struct sluice_count {
	struct sluice_counts counts;
	__u64 zero[3];
};
static_assert(sizeof(struct sluice_count) == 64, "sluice_count is map ABI");
#define SLUICE_STRIPES_MAX 8u

/* Element of `sluice_estimate`: the rates of a real server, as the kernel's estimator has them (ip_vs_est.c): in units of 1/1024 per second, of
 * bytes 1/32. Every two seconds a quarter of the difference is added. */
struct sluice_estimate {
	struct sluice_counts last; /* when it was estimated last */
	__s64 connections;
	__s64 packets_in;
	__s64 bytes_in;
	__s64 packets_out;
	__s64 bytes_out;
};
static_assert(sizeof(struct sluice_estimate) == 80, "sluice_estimate is map ABI");
#define SLUICE_ESTIMATE_NS 2000000000ull

/* Element of `sluice_service`: a virtual server. 0 is no virtual server's id. */
struct sluice_service {
	__u64 view;   /* its first line | generation << 32: one store publishes a new one; 0: there is none yet */
	__u64 cursor; /* of rr and wrr: sluice_cursor_word() */
	struct sluice_service_key key;
	__u32 state; /* SLUICE_SERVICE_* */
	__u32 flags; /* IP_VS_SVC_F_* as they were given */
	__u32 persistence_s;
	__u32 persistence_mask;    /* IPv4: a mask in host order; IPv6: a prefix length */
	__u32 persistence_engine;  /* 0: none, 1: sip */
	struct sluice_counts gone; /* of its real servers that were removed, after the zero point */
	__u32 generation;          /* changes when the id is given to another virtual server */
	__u32 zero;
	__u64 spare[3];
};
static_assert(sizeof(struct sluice_service) == 128, "sluice_service is map ABI");
#define SLUICE_SERVICE_FREE 0u
#define SLUICE_SERVICE_USED 1u
#define SLUICE_SERVICE_PERSISTENT 0x1u
#define SLUICE_SERVICE_ONE_PACKET 0x4u

static inline __u32 sluice_view_line(__u64 view)
{
	return (__u32)view;
}

static inline __u32 sluice_view_generation(__u64 view)
{
	return (__u32)(view >> 32) & 0xffffu;
}

static inline __u64 sluice_view_word(__u32 line, __u32 generation)
{
	return (__u64)(generation & 0xffffu) << 32 | line;
}

/* Element of `sluice_real`: what a packet needs of a real server after it was chosen, and what only lists show. Its weight, limits
 * and connections are in the `sluice_cell` of the same id. */
struct sluice_real {
	__u8 address[16];
	__be16 port; /* 0: the port that the client used */
	__u8 family;
	__u8 method;                       /* IP_VS_CONN_F_* of the forward methods */
	__u32 state;                       /* SLUICE_REAL_ID_* */
	struct sluice_service_key service; /* of its virtual server, by which it is found again when it was removed */
	__u32 service_id;
	__s32 last_weight; /* the last one above 0: mh */
	__u16 tunnel_checksum;
	__be16 tunnel_port;
	__u8 tunnel_type;
	__u8 zero[3];
	__u32 removed_s;             /* CLOCK_MONOTONIC */
	struct sluice_counts zeroed; /* what the counters were when they were zeroed */
	__u32 service_generation;    /* of the virtual server that it was added to */
	__u32 zero_too;
	__u64 spare[2];
};
static_assert(sizeof(struct sluice_real) == 128, "sluice_real is map ABI");
#define SLUICE_REAL_ID_FREE 0u
#define SLUICE_REAL_ID_USED 1u
#define SLUICE_REAL_ID_REMOVED 2u /* connections may still point to it */

/* The one element of `sluice_settings`. */
struct sluice_settings {
	__u64 changes; /* made by user space: a process with an index of the tables sees by it whether that is still right. Odd: one was begun */
	__u64 program_hash; /* of the programs that are attached */
	__u32 tcp_s[SLUICE_STATE_ROW];
	__u32 sctp_s[SLUICE_STATE_ROW];
	__u32 udp_s;
	__u32 stripes;  /* of counters: a power of two */
	__u32 services; /* ids from here on were never used */
	__u32 reals;
	__u32 lines;
	__u32 connections_max; /* the table grows up to this */
	__u32 sweep;           /* the entry that the sweep comes to next */
	__u32 flags;           /* SLUICE_SETTINGS_* */
	__u64 estimated_ns;    /* when the estimators' round began */
	__u32 estimate;        /* the real server that it comes to next */
	__u32 zero;
	__u64 swept_ns;           /* when the sweep ran last; CLOCK_MONOTONIC */
	__u32 rules[2];           /* of IPv4 and of IPv6: SLUICE_RULES_* */
	__u32 masquerade_mark[2]; /* what the mark of a packet gets whose source is to be replaced */
	__u8 pod_prefix[2][16];   /* IPv4 as ::ffff:a.b.c.d */
	__u8 pod_mask[2][16];
	char pod_interface[2][16]; /* a device's name, or what it begins with */
	__u32 own_device;          /* sluice0; 0: there is none */
	__u32 zero_too;
	__u16 port_from[2]; /* client ports that masquerading may take: two intervals */
	__u16 port_count[2];
	__u64 spare[8];
};
static_assert(sizeof(struct sluice_settings) == 392, "sluice_settings is map ABI");
static_assert(offsetof(struct sluice_settings, pod_prefix) == 216, "sluice_settings is map ABI");
static_assert(offsetof(struct sluice_settings, spare) == 328, "sluice_settings is map ABI");
#define SLUICE_SETTINGS_MARKS 0x1u        /* there are virtual servers of firewall marks */
#define SLUICE_SETTINGS_ANY_PORT 0x2u     /* there are virtual servers for all ports */
#define SLUICE_SETTINGS_PLAIN_COUNTS 0x4u /* each CPU has a stripe of counters of its own */
#define SLUICE_RULES_ANY 0x1u             /* there are settings, and there may be rules */
#define SLUICE_RULES_PODS_BY_PREFIX 0x2u  /* a source in pod_prefix is a pod's */
#define SLUICE_RULES_PODS_BY_DEVICE \
	0x4u /* what comes in by the device pod_interface is a pod's: sluice_device says so */
#define SLUICE_RULES_PODS_BY_DEVICE_PREFIX 0x8u /* or by one whose name begins so */
#define SLUICE_RULES_EXPIRE_GONE \
	0x10u /* a connection whose real server is gone ends with its next packet (expire_nodest_conn) */
#define SLUICE_RULES_EXPIRE_QUIESCENT \
	0x20u                       /* a template whose real server has weight 0 ends (expire_quiescent_template) */
#define SLUICE_RULES_RETIRING 0x40u /* what has a rule takes no new connections: another mode does */

/* X(NAME, text): why a packet was dropped. Texts are those of status and of the metric's label. */
#define SLUICE_DROP_REASONS(X)                  \
	X(MALFORMED, "malformed")               \
	X(NO_REAL_SERVER, "no_real_server")     \
	X(REAL_SERVER_GONE, "real_server_gone") \
	X(TABLE_FULL, "table_full")             \
	X(PORT_TAKEN, "port_taken")             \
	X(BUSY, "busy")                         \
	X(METHOD, "forward_method")             \
	X(NO_ROUTE, "no_route")                 \
	X(FILTERED, "filtered")

enum {
#define X(name, text) SLUICE_DROP_##name,
	SLUICE_DROP_REASONS(X)
#undef X
	SLUICE_DROP_COUNT,
};
#define SLUICE_DROPS_MAX 64u /* of `sluice_drop`, which outlives a version that knows fewer reasons */
static_assert(SLUICE_DROP_COUNT <= SLUICE_DROPS_MAX, "sluice_drop has room for every reason");

#endif
