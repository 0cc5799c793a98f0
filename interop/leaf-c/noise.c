/* The primitives of the secure mode, by libcrypto, and Noise_IK_25519_AESGCM_SHA256. */
#include "secure.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>

void sha256(uint8_t to[32], struct span one, struct span two) {
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!c || !EVP_DigestInit_ex(c, EVP_sha256(), NULL) ||
        !EVP_DigestUpdate(c, one.bytes, one.length) ||
        !EVP_DigestUpdate(c, two.bytes, two.length) || !EVP_DigestFinal_ex(c, to, NULL))
        fail("libcrypto: no SHA-256");
    EVP_MD_CTX_free(c);
}

void hmac(uint8_t to[32], struct span key, struct span what) {
    if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key.bytes, key.length, what.bytes,
                   what.length, to, 32, NULL))
        fail("libcrypto: no HMAC");
}

/* BLAKE2s with a key and 16 bytes of output. */
void mac(uint8_t to[16], struct span key, struct span what) {
    size_t size = 16;
    OSSL_PARAM wanted[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                           OSSL_PARAM_construct_end()};
    if (!EVP_Q_mac(NULL, "BLAKE2SMAC", NULL, NULL, wanted, key.bytes, key.length, what.bytes,
                   what.length, to, 16, NULL))
        fail("libcrypto: no BLAKE2s");
}

/* HKDF-Expand to 32 bytes: one block. */
void expand(uint8_t to[32], const uint8_t key[32], const void *info, size_t length) {
    uint8_t block[65];
    memcpy(block, info, length);
    block[length] = 1;
    hmac(to, SPAN(key, 32), SPAN(block, length + 1));
}

/* The public key of a private one: EVP_PKEY_X25519 or EVP_PKEY_ED25519. */
bool public_of(int type, uint8_t to[32], const uint8_t private_key[32]) {
    size_t size = 32;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(type, NULL, private_key, 32);
    bool good = key && EVP_PKEY_get_raw_public_key(key, to, &size) > 0;
    EVP_PKEY_free(key);
    return good;
}

static bool x25519(uint8_t to[32], const uint8_t private_key[32], const uint8_t public_key[32]) {
    size_t size = 32;
    EVP_PKEY *mine = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, 32);
    EVP_PKEY *other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public_key, 32);
    EVP_PKEY_CTX *c = mine ? EVP_PKEY_CTX_new(mine, NULL) : NULL;
    bool good = c && other && EVP_PKEY_derive_init(c) > 0 &&
                EVP_PKEY_derive_set_peer(c, other) > 0 && EVP_PKEY_derive(c, to, &size) > 0;
    EVP_PKEY_CTX_free(c);
    EVP_PKEY_free(mine);
    EVP_PKEY_free(other);
    return good;
}

/* Whether a signature is this key's over one text and another behind it. */
bool verify(const uint8_t key[32], const uint8_t *signature, struct span one, struct span two) {
    static uint8_t text[65536 + 64];
    if (one.length + two.length > sizeof text)
        return false;
    memcpy(text, one.bytes, one.length);
    memcpy(text + one.length, two.bytes, two.length);
    EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, 32);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool good = public && c && EVP_DigestVerifyInit(c, NULL, NULL, NULL, public) > 0 &&
                EVP_DigestVerify(c, signature, 64, text, one.length + two.length) == 1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(public);
    return good;
}

/* AES-256-GCM, in one direction or the other; the tag is read or written apart. */
static bool gcm(bool seals, uint8_t *to, const uint8_t key[32], const uint8_t nonce[12],
                struct span with, struct span what, uint8_t tag[TAG]) {
    static EVP_CIPHER_CTX *c;
    int size;
    if (!c && !(c = EVP_CIPHER_CTX_new()))
        fail("libcrypto: no AES-GCM");
    return EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce, seals) &&
           EVP_CipherUpdate(c, NULL, &size, with.bytes, (int)with.length) &&
           (!what.length || EVP_CipherUpdate(c, to, &size, what.bytes, (int)what.length)) &&
           (seals || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag)) &&
           EVP_CipherFinal_ex(c, to + what.length, &size) > 0 &&
           (!seals || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, tag));
}

/* The ciphertext, and the tag behind it. */
bool seal(uint8_t *to, const uint8_t key[32], const uint8_t nonce[12], struct span with,
          struct span what) {
    return gcm(true, to, key, nonce, with, what, to + what.length);
}

bool unseal(uint8_t *to, const uint8_t key[32], const uint8_t nonce[12], struct span with,
            struct span what) {
    uint8_t tag[TAG];
    if (what.length < TAG)
        return false;
    what.length -= TAG;
    memcpy(tag, what.bytes + what.length, TAG); /* `to` may be where it stands */
    return gcm(false, to, key, nonce, with, what, tag);
}

/* Noise: every key of the pattern seals once, so every nonce is zero. */

static const uint8_t zero[12];

static void mix_hash(struct noise *n, const uint8_t *what, size_t length) {
    sha256(n->hash, SPAN(n->hash, 32), SPAN(what, length));
}

/* HKDF of the chain and an input: two keys. */
static void split(const uint8_t chain[32], struct span input, uint8_t one[32], uint8_t other[32]) {
    uint8_t extracted[32], block[33];
    hmac(extracted, SPAN(chain, 32), input);
    expand(one, extracted, "", 0);
    memcpy(block, one, 32);
    block[32] = 2;
    hmac(other, SPAN(extracted, 32), SPAN(block, 33));
}

/* Mix in a shared secret; give the key that follows from it. */
static bool mix_key(struct noise *n, uint8_t key[32], const uint8_t mine[32],
                    const uint8_t other[32]) {
    uint8_t shared[32];
    if (!x25519(shared, mine, other))
        return false;
    split(n->chain, SPAN(shared, 32), n->chain, key);
    return true;
}

static bool seal_and_hash(struct noise *n, uint8_t *to, const uint8_t key[32], struct span what) {
    bool good = seal(to, key, zero, SPAN(n->hash, 32), what);
    mix_hash(n, to, what.length + TAG);
    return good;
}

static bool open_and_hash(struct noise *n, uint8_t *to, const uint8_t key[32], struct span what) {
    bool good = unseal(to, key, zero, SPAN(n->hash, 32), what);
    mix_hash(n, what.bytes, what.length);
    return good;
}

void noise_begin(struct noise *n, struct span prologue, const uint8_t responder[32]) {
    static const char name[32] = "Noise_IK_25519_AESGCM_SHA256";
    memcpy(n->hash, name, 32);
    memcpy(n->chain, name, 32);
    mix_hash(n, prologue.bytes, prologue.length);
    mix_hash(n, responder, 32);
}

/* e, es, s, ss: writes 32 + 48 + payload + 16 bytes. */
bool noise_write1(struct noise *n, uint8_t *to, const uint8_t ephemeral[32],
                  const uint8_t own_key[32], const uint8_t other[32], struct span payload) {
    uint8_t key[32], public[32];
    if (!public_of(EVP_PKEY_X25519, to, ephemeral) ||
        !public_of(EVP_PKEY_X25519, public, own_key))
        return false;
    mix_hash(n, to, 32);
    return mix_key(n, key, ephemeral, other) &&
           seal_and_hash(n, to + 32, key, SPAN(public, 32)) &&
           mix_key(n, key, own_key, other) && seal_and_hash(n, to + 80, key, payload);
}

bool noise_read1(struct noise *n, const uint8_t *from, size_t length, const uint8_t own_key[32],
                 uint8_t other[32], uint8_t *payload) {
    uint8_t key[32];
    mix_hash(n, from, 32);
    return length >= 80 + TAG && mix_key(n, key, own_key, from) &&
           open_and_hash(n, other, key, SPAN(from + 32, 48)) && mix_key(n, key, own_key, other) &&
           open_and_hash(n, payload, key, SPAN(from + 80, length - 80));
}

/* e, ee, se: writes 32 + payload + 16 bytes. */
bool noise_write2(struct noise *n, uint8_t *to, const uint8_t ephemeral[32],
                  const uint8_t their_ephemeral[32], const uint8_t other[32], struct span payload) {
    uint8_t key[32];
    if (!public_of(EVP_PKEY_X25519, to, ephemeral))
        return false;
    mix_hash(n, to, 32);
    return mix_key(n, key, ephemeral, their_ephemeral) && mix_key(n, key, ephemeral, other) &&
           seal_and_hash(n, to + 32, key, payload);
}

bool noise_read2(struct noise *n, const uint8_t *from, size_t length,
                 const uint8_t ephemeral[32], const uint8_t own_key[32], uint8_t *payload) {
    uint8_t key[32];
    mix_hash(n, from, 32);
    return length >= 32 + TAG && mix_key(n, key, ephemeral, from) &&
           mix_key(n, key, own_key, from) &&
           open_and_hash(n, payload, key, SPAN(from + 32, length - 32));
}

/* The key of what the initiator sends, and of what the responder sends. */
void noise_split(const struct noise *n, uint8_t initiator[32], uint8_t responder[32]) {
    split(n->chain, SPAN("", 0), initiator, responder);
}
