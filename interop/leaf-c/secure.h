/* What the parts of the secure mode share: spec-notes/security.md. */
#ifndef SECURE_H
#define SECURE_H

#include "leaf.h"

enum { TAG = 16, CERTIFICATE = 1024, SIGNATURE = 64 };
enum { MEMBER = 1, MAY_BE_SUPER_NODE = 2, MAY_BE_SOURCE = 4, RENDEZVOUS_POINT = 8, AUTHORITY = 16,
       CORE = MAY_BE_SUPER_NODE | MAY_BE_SOURCE };

/* noise.c: the primitives and the two messages of Noise IK */
struct noise { uint8_t chain[32], hash[32]; };
void sha256(uint8_t to[32], struct span one, struct span two);
void hmac(uint8_t to[32], struct span key, struct span what);
void expand(uint8_t to[32], const uint8_t key[32], const void *info, size_t length);
bool public_of(int type, uint8_t to[32], const uint8_t private_key[32]);
bool verify(const uint8_t key[32], const uint8_t *signature, struct span one, struct span two);
void mac(uint8_t to[16], struct span key, struct span what);
bool seal(uint8_t *to, const uint8_t key[32], const uint8_t nonce[12], struct span with,
          struct span what);
bool unseal(uint8_t *to, const uint8_t key[32], const uint8_t nonce[12], struct span with,
            struct span what);
void noise_begin(struct noise *n, struct span prologue, const uint8_t responder[32]);
bool noise_write1(struct noise *n, uint8_t *to, const uint8_t ephemeral[32],
                  const uint8_t own[32], const uint8_t other[32], struct span payload);
bool noise_read1(struct noise *n, const uint8_t *from, size_t length, const uint8_t own[32],
                 uint8_t other[32], uint8_t *payload);
bool noise_write2(struct noise *n, uint8_t *to, const uint8_t ephemeral[32],
                  const uint8_t their_ephemeral[32], const uint8_t other[32],
                  struct span payload);
bool noise_read2(struct noise *n, const uint8_t *from, size_t length,
                 const uint8_t ephemeral[32], const uint8_t own[32], uint8_t *payload);
void noise_split(const struct noise *n, uint8_t initiator[32], uint8_t responder[32]);

/* trust.c: certificates, the session file, the shared secret */
struct certificate {
    uint8_t key[32], static_key[32], node[16];
    uint32_t capabilities;
    uint16_t out_degree;
    int64_t until;
    size_t group_count;
    uint8_t groups[16][16];
};
struct own { uint8_t secret[32], public[32], signer[32]; size_t length; uint8_t shown[CERTIFICATE];
             struct certificate certificate; };
extern struct own own;
extern uint8_t rp_keys[RPS][32];
void trust_start(void);
bool trust_certificate(struct certificate *to, const uint8_t *bytes, size_t length);

/* keys.c: the group's keys */
void keys_tick(void);
void keys_rekey(uint32_t origin, const uint8_t *bytes, size_t length);
bool keys_open(uint32_t origin, uint8_t epoch, bool (*try)(const uint8_t secret[32]));

#endif
