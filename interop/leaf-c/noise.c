/* The primitives of the secure mode, by libcrypto, and Noise_IK_25519_AESGCM_SHA256. */
#include "secure.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

enum { KEY = 32 };

void sha256(uint8_t to[32], struct span one, struct span two)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    if (!c || !EVP_DigestInit_ex(c, EVP_sha256(), NULL) ||
        !EVP_DigestUpdate(c, one.bytes, one.length) ||
        !EVP_DigestUpdate(c, two.bytes, two.length) || !EVP_DigestFinal_ex(c, to, NULL))
        fail("libcrypto: no SHA-256");
    EVP_MD_CTX_free(c);
}

void hkdf_extract(uint8_t to[32], struct span salt, struct span secret)
{
    if (!HMAC(EVP_sha256(), salt.bytes, (int)salt.length, secret.bytes, secret.length, to, NULL))
        fail("libcrypto: no HMAC");
}

/* HKDF-Expand to 32 bytes: one block. */
void expand(uint8_t to[32], const uint8_t key[32], const void *info, size_t length)
{
    uint8_t block[65];
    memcpy(block, info, length);
    block[length] = 1;
    hkdf_extract(to, SPAN(key, 32), SPAN(block, length + 1));
}

bool x25519(uint8_t to[32], const uint8_t private_key[32], const uint8_t public_key[32])
{
    size_t size = KEY;
    EVP_PKEY *own = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, KEY);
    EVP_PKEY *other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public_key, KEY);
    EVP_PKEY_CTX *c = own ? EVP_PKEY_CTX_new(own, NULL) : NULL;
    bool good = c && other && EVP_PKEY_derive_init(c) > 0 &&
                EVP_PKEY_derive_set_peer(c, other) > 0 && EVP_PKEY_derive(c, to, &size) > 0;
    EVP_PKEY_CTX_free(c);
    EVP_PKEY_free(own);
    EVP_PKEY_free(other);
    return good;
}

static bool public_of(int type, uint8_t to[32], const uint8_t private_key[32])
{
    size_t size = KEY;
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(type, NULL, private_key, KEY);
    bool good = key && EVP_PKEY_get_raw_public_key(key, to, &size) > 0;
    EVP_PKEY_free(key);
    return good;
}

bool x25519_public(uint8_t to[32], const uint8_t private_key[32])
{
    return public_of(EVP_PKEY_X25519, to, private_key);
}

bool ed25519_public(uint8_t to[32], const uint8_t seed[32])
{
    return public_of(EVP_PKEY_ED25519, to, seed);
}

/* Whether a signature is this key's over one text and another behind it. */
bool verify(const uint8_t key[32], const uint8_t *signature, struct span one, struct span two)
{
    static uint8_t text[65536 + 64];
    if (one.length + two.length > sizeof text)
        return false;
    memcpy(text, one.bytes, one.length);
    memcpy(text + one.length, two.bytes, two.length);
    EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, KEY);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool good = public && c && EVP_DigestVerifyInit(c, NULL, NULL, NULL, public) > 0 &&
                EVP_DigestVerify(c, signature, 64, text, one.length + two.length) == 1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(public);
    return good;
}

/* BLAKE2s with a key and 16 bytes of output. */
void mac(uint8_t to[16], struct span key, struct span what)
{
    static EVP_MAC *blake;
    size_t size = 16;
    OSSL_PARAM wanted[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                           OSSL_PARAM_construct_end()};
    if (!blake)
        blake = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
    EVP_MAC_CTX *c = blake ? EVP_MAC_CTX_new(blake) : NULL;
    if (!c || !EVP_MAC_init(c, key.bytes, key.length, wanted) ||
        !EVP_MAC_update(c, what.bytes, what.length) || !EVP_MAC_final(c, to, &size, 16))
        fail("libcrypto: no BLAKE2s");
    EVP_MAC_CTX_free(c);
}

static EVP_CIPHER_CTX *gcm(void)
{
    static EVP_CIPHER_CTX *c;
    if (!c && !(c = EVP_CIPHER_CTX_new()))
        fail("libcrypto: no AES-GCM");
    return c;
}

/* AES-256-GCM: the ciphertext, and the tag behind it. */
bool seal(uint8_t *to, const uint8_t key[32], const uint8_t nonce[12], struct span with,
          struct span what)
{
    EVP_CIPHER_CTX *c = gcm();
    int size;
    return EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) &&
           EVP_EncryptUpdate(c, NULL, &size, with.bytes, (int)with.length) &&
           (!what.length || EVP_EncryptUpdate(c, to, &size, what.bytes, (int)what.length)) &&
           EVP_EncryptFinal_ex(c, to + what.length, &size) &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, to + what.length);
}

bool unseal(uint8_t *to, const uint8_t key[32], const uint8_t nonce[12], struct span with,
            struct span what)
{
    EVP_CIPHER_CTX *c = gcm();
    int size;
    if (what.length < TAG)
        return false;
    size_t length = what.length - TAG;
    uint8_t tag[TAG];
    memcpy(tag, what.bytes + length, TAG);
    return EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) &&
           EVP_DecryptUpdate(c, NULL, &size, with.bytes, (int)with.length) &&
           (!length || EVP_DecryptUpdate(c, to, &size, what.bytes, (int)length)) &&
           EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag) &&
           EVP_DecryptFinal_ex(c, to + length, &size) > 0;
}

/* Noise: every key of the pattern seals once, so every nonce is zero. */

static const uint8_t zero[12];

static void mix_hash(struct noise *n, const uint8_t *what, size_t length)
{
    sha256(n->hash, SPAN(n->hash, 32), SPAN(what, length));
}

/* Mix in a shared secret; give the key that follows from it. */
static bool mix_key(struct noise *n, uint8_t key[32], const uint8_t own[32],
                    const uint8_t other[32])
{
    uint8_t shared[32], extracted[32], block[33];
    if (!x25519(shared, own, other))
        return false;
    hkdf_extract(extracted, SPAN(n->chain, 32), SPAN(shared, 32));
    expand(n->chain, extracted, "", 0);
    memcpy(block, n->chain, 32);
    block[32] = 2;
    hkdf_extract(key, SPAN(extracted, 32), SPAN(block, 33));
    return true;
}

static bool seal_and_hash(struct noise *n, uint8_t *to, const uint8_t key[32], struct span what)
{
    bool good = seal(to, key, zero, SPAN(n->hash, 32), what);
    mix_hash(n, to, what.length + TAG);
    return good;
}

static bool open_and_hash(struct noise *n, uint8_t *to, const uint8_t key[32], struct span what)
{
    bool good = unseal(to, key, zero, SPAN(n->hash, 32), what);
    mix_hash(n, what.bytes, what.length);
    return good;
}

void noise_begin(struct noise *n, struct span prologue, const uint8_t responder[32])
{
    static const char name[32] = "Noise_IK_25519_AESGCM_SHA256";
    memcpy(n->hash, name, 32);
    memcpy(n->chain, name, 32);
    mix_hash(n, prologue.bytes, prologue.length);
    mix_hash(n, responder, 32);
}

/* e, es, s, ss: writes 32 + 48 + payload + 16 bytes. */
bool noise_write1(struct noise *n, uint8_t *to, const uint8_t ephemeral[32],
                  const uint8_t own_key[32], const uint8_t other[32], struct span payload)
{
    uint8_t key[32], public[32];
    if (!x25519_public(to, ephemeral) || !x25519_public(public, own_key))
        return false;
    mix_hash(n, to, 32);
    return mix_key(n, key, ephemeral, other) &&
           seal_and_hash(n, to + 32, key, SPAN(public, 32)) &&
           mix_key(n, key, own_key, other) && seal_and_hash(n, to + 80, key, payload);
}

bool noise_read1(struct noise *n, const uint8_t *from, size_t length, const uint8_t own_key[32],
                 uint8_t other[32], uint8_t *payload)
{
    uint8_t key[32];
    mix_hash(n, from, 32);
    return length >= 80 + TAG && mix_key(n, key, own_key, from) &&
           open_and_hash(n, other, key, SPAN(from + 32, 48)) && mix_key(n, key, own_key, other) &&
           open_and_hash(n, payload, key, SPAN(from + 80, length - 80));
}

/* e, ee, se: writes 32 + payload + 16 bytes. */
bool noise_write2(struct noise *n, uint8_t *to, const uint8_t ephemeral[32],
                  const uint8_t their_ephemeral[32], const uint8_t other[32],
                  struct span payload)
{
    uint8_t key[32];
    if (!x25519_public(to, ephemeral))
        return false;
    mix_hash(n, to, 32);
    return mix_key(n, key, ephemeral, their_ephemeral) && mix_key(n, key, ephemeral, other) &&
           seal_and_hash(n, to + 32, key, payload);
}

bool noise_read2(struct noise *n, const uint8_t *from, size_t length,
                 const uint8_t ephemeral[32], const uint8_t own_key[32], uint8_t *payload)
{
    uint8_t key[32];
    mix_hash(n, from, 32);
    return length >= 32 + TAG && mix_key(n, key, ephemeral, from) &&
           mix_key(n, key, own_key, from) &&
           open_and_hash(n, payload, key, SPAN(from + 32, length - 32));
}

/* The key of what the initiator sends, and of what the responder sends. */
void noise_split(const struct noise *n, uint8_t initiator[32], uint8_t responder[32])
{
    uint8_t extracted[32], block[33];
    hkdf_extract(extracted, SPAN(n->chain, 32), SPAN("", 0));
    expand(initiator, extracted, "", 0);
    memcpy(block, initiator, 32);
    block[32] = 2;
    hkdf_extract(responder, SPAN(extracted, 32), SPAN(block, 33));
}
