/* CRC-32C by the processor's own instruction, where it has one: the register goes in and comes out uninverted. */
#ifndef AIONVME_PI_CRC32C_H
#define AIONVME_PI_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)

#include <nmmintrin.h>

#define AIO_CRC32C_TARGET __attribute__((target("sse4.2")))
#define AIO_CRC32C_8(crc, word) _mm_crc32_u64(crc, word)
#define AIO_CRC32C_1(crc, byte) _mm_crc32_u8((uint32_t)(crc), byte)
static inline int aio_has_crc32c(void) { return __builtin_cpu_supports("sse4.2") != 0; }

#elif defined(__ARM_FEATURE_CRC32)

#include <arm_acle.h>

#define AIO_CRC32C_TARGET
#define AIO_CRC32C_8(crc, word) __crc32cd((uint32_t)(crc), word)
#define AIO_CRC32C_1(crc, byte) __crc32cb((uint32_t)(crc), byte)
static inline int aio_has_crc32c(void) { return 1; }

#endif

#ifdef AIO_CRC32C_TARGET

static inline uint64_t aio_crc32c_word(const uint8_t *at)
{
    uint64_t word;

    memcpy(&word, at, 8);
    return word;
}

AIO_CRC32C_TARGET static uint64_t aio_crc32c(uint64_t crc, const uint8_t *at, size_t nbytes)
{
    for (; nbytes >= 8; at += 8, nbytes -= 8)
        crc = AIO_CRC32C_8(crc, aio_crc32c_word(at));
    for (; nbytes; at++, nbytes--)
        crc = AIO_CRC32C_1(crc, *at);
    return crc;
}

/* Of three blocks side by side: the instruction takes three cycles, and another can begin in each. */
AIO_CRC32C_TARGET static void aio_crc32c_three(uint64_t crcs[3], const uint8_t *const at[3], size_t nbytes)
{
    const uint8_t *a = at[0], *b = at[1], *c = at[2];
    uint64_t x = crcs[0], y = crcs[1], z = crcs[2];
    size_t words = nbytes / 8;

    for (size_t i = 0; i < words; i++, a += 8, b += 8, c += 8) {
        x = AIO_CRC32C_8(x, aio_crc32c_word(a));
        y = AIO_CRC32C_8(y, aio_crc32c_word(b));
        z = AIO_CRC32C_8(z, aio_crc32c_word(c));
    }
    crcs[0] = aio_crc32c(x, a, nbytes % 8);
    crcs[1] = aio_crc32c(y, b, nbytes % 8);
    crcs[2] = aio_crc32c(z, c, nbytes % 8);
}

#else

static inline int aio_has_crc32c(void) { return 0; }
static uint64_t aio_crc32c(uint64_t crc, const uint8_t *at, size_t nbytes)
{
    (void)at;
    (void)nbytes;
    return crc;
}
static void aio_crc32c_three(uint64_t crcs[3], const uint8_t *const at[3], size_t nbytes)
{
    (void)crcs;
    (void)at;
    (void)nbytes;
}

#endif
#endif
