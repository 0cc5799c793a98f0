/* The messages of DMMP as bytes: spec-notes/messages.md. */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEADER = 24, LARGEST = 65507, PATH = 64, RECORDS = 12, INTERESTS = 32, NAMED = 24 };
enum { KEYS = 8, PATH_KEY = 40, WRAP = 56 };

enum option {
    DATA = 0x00, HEARTBEAT = 0x01, CREDENTIAL = 0x02,
    SUBSCRIPTION_REQUEST = 0x10, SUBSCRIPTION_RESPONSE, PING_RP_REQUEST = 0x20, PING_RP_RESPONSE,
    SOURCE_REQUEST = 0x30, SOURCE_RESPONSE, CLUSTER_REQUEST = 0x40, CLUSTER_RESPONSE,
    JOIN_REQUEST = 0x50, JOIN_RESPONSE, SETUP_REQUEST = 0x60, SETUP_RESPONSE,
    STATUS_REPORT = 0x70, STATUS_RESPONSE, PROBE_REQUEST = 0x80, PROBE_RESPONSE,
    LEAVE_REPORT = 0x90, LEAVE_RESPONSE, REFRESH_REQUEST = 0xa0, REFRESH_RESPONSE,
    PROMOTION_REQUEST = 0xb0, PROMOTION_ACK, PROMOTION_CONFIRM, BREAK_REQUEST, BREAK_RESPONSE,
    BREAK_CONFIRM, JOIN_NOTIFICATION, DATA_REQUEST = 0xc0,
    HANDSHAKE_INITIATION = 0xd0, HANDSHAKE_RESPONSE, COOKIE_REPLY, SEALED, KEY_REQUEST,
    KEY_RESPONSE, KEY_LEAVE, REKEY, INTRODUCTION_REQUEST, INTRODUCTION_RESPONSE,
    RENEWAL_REQUEST, RENEWAL_RESPONSE, HOP_SEALED, ERROR = 0xf0
};
enum status { SUCCESS, REFUSED, FULL, LOOP, UNKNOWN_SESSION, UNKNOWN_HOST, NOT_JOINED,
              NOT_SUPER_NODE, DUPLICATE_SOURCE, NO_SOURCE, INCAPABLE };
enum host_flag { SOURCE = 1, SUPER_NODE = 2, OFFERS = 8, FED = 16, ORDINARY = 32 };
enum leave_reason { SHUTDOWN, MOVED, DECLINED, DISMISSED, HANDOVER };
enum refresh_kind { CHILD, PARENT, MESH, FROM_SOURCE, HOST, RELATIVE };
enum { INACTIVE = 2, EXCLUDE = 1, NO_DEPTH = 255 };

/* Flags in the reserved word of Data and Heartbeat. */
#define FLAG_HEARTBEAT 0x01000000u
#define FLAG_SEALED 0x02000000u
#define FLAG_MANIFEST 0x04000000u
#define FLAG_SIGNED 0x08000000u

/* An IPv4 address is kept as ::ffff:a.b.c.d, on the wire and here. */
struct endpoint { uint8_t address[16]; uint16_t port; };

struct record {
    uint32_t host;
    struct endpoint endpoint;
    uint8_t flags, depth;
    uint16_t out_degree, free_slots;
    uint32_t uptime, delay_us;
};
struct records { uint8_t count; struct record hosts[RECORDS]; };
struct path { uint8_t count; uint32_t ids[PATH]; };
struct interest { uint8_t group[16], mode, count, sources[16][16]; };
struct span { const uint8_t *bytes; size_t length; };

/* Any message: each uses the fields that its layout in wire.c names. Spans point into the bytes
   that were read. */
struct message {
    uint8_t tree_version;
    uint16_t option;
    uint32_t session, source, sequence, reserved;
    union { uint8_t status, kind, state, reason, error; };
    union { uint8_t phase, passes, started; };
    union { uint16_t channel, part, wrong_option; };
    union { uint16_t parts, offset; };
    union { uint32_t host, super_node, epoch, origin, highest, lifetime; };
    union { uint32_t hosts_known, leaf, base; };
    union { uint64_t instance, timestamp; };
    struct record record, successor;
    struct endpoint endpoint;
    uint8_t group[16], origin_address[16];
    struct path path;
    struct records hosts, others;
    uint8_t interest_count;
    struct interest interests[INTERESTS];
    struct span octets, text, domain, list, elements;
    const uint8_t *signature; /* the value of the last element, if that is SIGNATURE */
    uint8_t named_count;      /* endpoints in the order of the fields, for introductions */
    struct endpoint named[NAMED];
};

uint64_t get(const uint8_t *at, size_t size);
void put(uint8_t *at, uint64_t value, size_t size);
bool decode(struct message *message, const uint8_t *bytes, size_t length);
size_t encode(struct message *message, uint8_t *bytes, size_t room);

#endif
