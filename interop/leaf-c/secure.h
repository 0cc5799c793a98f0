/* What the parts of the secure mode share: spec-notes/security.md. */
#ifndef SECURE_H
#define SECURE_H

#include "leaf.h"

enum { TAG = 16, MEMBER = 1, RENDEZVOUS_POINT = 8, AUTHORITY = 16, CERTIFICATE = 1024 };
enum { MAY_BE_SUPER_NODE = 2, MAY_BE_SOURCE = 4 };

/* noise.c: the primitives and the two messages of Noise IK */
struct noise { uint8_t chain[32], hash[32]; };
#define SPAN(bytes, length) ((struct span){(const uint8_t *)(bytes), length})
void sha256(uint8_t to[32], struct span one, struct span two);
void hkdf_extract(uint8_t to[32], struct span salt, struct span secret);
void expand(uint8_t to[32], const uint8_t key[32], const void *info, size_t length);
bool x25519(uint8_t to[32], const uint8_t private_key[32], const uint8_t public_key[32]);
bool x25519_public(uint8_t to[32], const uint8_t private_key[32]);
bool ed25519_public(uint8_t to[32], const uint8_t seed[32]);
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
    uint8_t key[32], static_key[32], node[16], serial[8];
    uint32_t capabilities;
    uint16_t out_degree;
    int64_t from, until;
    int group_count;
    uint8_t groups[16][16];
};
struct own { uint8_t secret[32], public[32], signer[32]; size_t length; uint8_t shown[CERTIFICATE];
             struct certificate certificate; };
extern struct own own;
extern uint8_t rp_keys[RPS][32];
void trust_start(void);
bool trust_certificate(struct certificate *to, const uint8_t *bytes, size_t length);

/* proof.c: whether data is its origin's, and what it says */
enum verdict { GOOD, WAIT, BAD, NOTHING };
enum verdict proof_packet(const uint8_t *bytes, size_t length);
enum verdict proof_heartbeat(const struct message *m, const uint8_t *bytes, size_t length);
enum verdict proof_open(const uint8_t *bytes, size_t length, uint8_t *plain, size_t *got);
bool proof_credential(const uint8_t *bytes, size_t length);
bool proof_took(const uint8_t *bytes, size_t length);

/* keys.c: the group's keys */
void keys_tick(void);
void keys_rekey(uint32_t origin, const uint8_t *bytes, size_t length);
bool keys_open(uint32_t origin, uint8_t epoch, bool (*try)(const uint8_t secret[32]));

#endif
