/* What the parts of the leaf share. Times are microseconds of a clock that only goes forward. */
#ifndef LEAF_H
#define LEAF_H

#include "wire.h"

enum { RPS = 8, MILLI = 1000, SECOND = 1000 * MILLI };
enum security { NONE, CERTIFICATES, SHARED_SECRET };

struct options {
    const char *session, *session_file, *credential, *secret_file;
    enum security security;
    int rp_count, interest_count;
    struct endpoint rps[RPS];
    struct interest interests[INTERESTS];
    int wish_count; /* of each group the UDP ports that are delivered; 0 = all */
    struct { uint8_t group[16]; uint16_t port; } wishes[INTERESTS];
    uint64_t order_delay;      /* how long packets wait for missing ones before them */
    bool verbose;
};

struct counters { uint64_t delivered, repaired, lost, duplicates, dropped, forged, unopened; };

/* main.c: the machine */
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
struct place { struct record host; struct path path; uint32_t super_node; };
extern uint32_t session_id, own_id;
void member_start(void);
void member_tick(void);
void member_receive(const struct endpoint *from, struct message *message);
void member_leave(void);
bool member_gone(void);
bool member_upstream(const struct endpoint *from);
bool member_relative(const struct endpoint *from);
bool member_may_ask(const struct endpoint *from);
const struct endpoint *member_repairer(unsigned turn, bool upstream);
uint64_t member_round_trip(void);
bool member_takes(uint8_t tree_version);
void member_silence(void);
void member_forged(const struct endpoint *from);
void member_find_source(void);
void member_send(struct message *message, const struct endpoint *to);
void member_begin(struct message *message, enum option option);
void member_ask(struct message *message, const struct endpoint *to, int tries, uint64_t wait);

/* data.c: the flow */
void data_receive(const struct endpoint *from, const uint8_t *bytes, size_t length, bool sealed);
void data_new_upstream(const struct endpoint *to);
void data_again(void);
void data_tick(void);

/* secure.c, proof.c and keys.c: the secure mode; without it nothing is secured */
#ifdef SECURE
void secure_start(void);
void secure_tick(void);
bool secure_receive(const struct endpoint *from, const uint8_t *bytes, size_t length);
void secure_say(const struct endpoint *to, const uint8_t *bytes, size_t length);
bool secure_ordinary(void);
void keys_source(const struct record *source);
void keys_response(const struct message *message);
void keys_leave(void);
#endif

#endif
