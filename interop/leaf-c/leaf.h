/* What the parts of the leaf share: the messages of DMMP (spec-notes/messages.md), and what each
   part does for the others. Times are microseconds of a clock that only goes forward. */
#ifndef LEAF_H
#define LEAF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEADER = 24, LARGEST = 65507, PATH = 64, RECORDS = 12, INTERESTS = 32, NAMED = 24 };
enum { KEYS = 8, PATH_KEY = 40, WRAP = 56, RPS = 8, MILLI = 1000, SECOND = 1000 * MILLI };

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
enum { EXCLUDE = 1, NO_DEPTH = 255 };

/* Flags in the reserved word of Data and Heartbeat. */
#define FLAG_SEALED 0x02000000u
#define FLAG_MANIFEST 0x04000000u
#define FLAG_SIGNED 0x08000000u

/* An IPv4 address is kept as ::ffff:a.b.c.d, on the wire and here. */
struct endpoint { uint8_t address[16]; uint16_t port; };
#define NOWHERE {[10] = 0xff, [11] = 0xff}

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
#define SPAN(bytes, length) ((struct span){(const uint8_t *)(bytes), length})

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

/* wire.c */
uint64_t get(const uint8_t *at, size_t size);
void put(uint8_t *at, uint64_t value, size_t size);
bool decode(struct message *message, const uint8_t *bytes, size_t length);
size_t encode(struct message *message, uint8_t *bytes, size_t room);

/* main.c: the machine */
struct options {
    const char *session, *session_file, *credential, *secret_file;
    enum security { NONE, CERTIFICATES, SHARED_SECRET } security;
    int rp_count, interest_count, wish_count;
    struct endpoint rps[RPS];
    struct interest interests[INTERESTS];
    struct endpoint wishes[INTERESTS]; /* groups with the UDP port that is delivered; 0 = all */
    uint64_t order_delay;              /* how long packets wait for missing ones before them */
    bool verbose;
};
struct counters { unsigned long delivered, repaired, lost, duplicates, dropped, forged, unopened; };
extern struct options options;
extern struct counters counters;
extern uint64_t now;
bool due(uint64_t at);
void transmit(const struct endpoint *to, const uint8_t *bytes, size_t length);
void deliver(const uint8_t *packet, size_t length);
void note(const char *format, ...);
_Noreturn void fail(const char *format, ...);
void random_bytes(void *to, size_t size);
uint64_t jitter(uint64_t period);
uint64_t after_pause(uint64_t *pause, uint64_t first, uint64_t most);
bool same(const struct endpoint *one, const struct endpoint *other);
bool parse_endpoint(const char *text, uint16_t port, struct endpoint *endpoint);

/* member.c: the place in the tree */
extern uint32_t session_id, own_id;
extern uint64_t round_trip;
extern uint8_t own_flags;
/* A request, and what is done when it is answered, `from` being who did; without an answer to any
   of its tries the message is NULL. */
struct request;
typedef void answered(const struct request *request, const struct message *answer);
struct request {
    struct endpoint to, from;
    uint16_t option;
    uint32_t sequence;
    int tries, sent; /* tries left, this one included; 0 = not open */
    uint64_t first, at, wait;
    answered *then;
    size_t length;
    uint8_t bytes[4096];
};
void member_start(void);
void member_tick(void);
void member_receive(const struct endpoint *from, const struct message *message);
void member_leave(void);
bool member_gone(void);
bool member_feeds(const struct endpoint *from);
const struct endpoint *member_upstream(void);
bool member_takes(uint8_t tree_version);
void member_silence(void);
void member_forged(const struct endpoint *from);
void member_find_source(answered *then);
struct message *begin(enum option option);
void send_message(struct message *message, const struct endpoint *to);
void ask(struct message *message, const struct endpoint *to, int tries, uint64_t wait,
         answered *then);

/* data.c: the flow */
void data_receive(const struct endpoint *from, const uint8_t *bytes, size_t length, bool sealed);
void data_new_upstream(const struct endpoint *to);
void data_tick(void);

/* What is listed of a number in a manifest; NULL if nothing is, unless room is made for it. */
struct channel;
uint8_t *data_digest(struct channel *channel, uint32_t number, bool make);

/* secure.c, proof.c and keys.c: the secure mode; what the others need of it */
enum verdict { GOOD, WAIT, BAD };
#ifdef SECURE
enum verdict proof_packet(struct channel *channel, const uint8_t *bytes, size_t length);
enum verdict proof_heartbeat(const struct message *m, const uint8_t *bytes, size_t length);
enum verdict proof_open(const uint8_t *bytes, size_t length, uint8_t *plain, size_t *got);
void proof_credential(const uint8_t *bytes, size_t length);
bool proof_took(const uint8_t *bytes, size_t length);
void secure_start(void);
void secure_tick(void);
bool secure_receive(const struct endpoint *from, const uint8_t *bytes, size_t length);
void secure_say(const struct endpoint *to, const uint8_t *bytes, size_t length);
bool secure_distrusts(uint32_t host);
void secure_distrust(uint32_t host);
void keys_leave(void);
#else /* the same calls in a leaf that has no secure mode and never makes them */
#define secure_start() fail("built without security; build with SECURE=1")
#define secure_tick() (void)0
#define secure_receive(from, bytes, length) false
#define secure_say(to, bytes, length) (void)0
#define secure_distrusts(host) false
#define secure_distrust(host) (void)0
#define keys_leave() (void)0
#define proof_packet(channel, bytes, length) ((void)(length), GOOD)
#define proof_heartbeat(m, bytes, length) GOOD
#define proof_open(bytes, length, plain, got) BAD
#define proof_credential(bytes, length) (void)0
#define proof_took(bytes, length) false
#endif

#endif
