/* The guards of protection information, by table: CRC-16 T10-DIF and CRC-64 NVMe (NVM Command Set 1.0, 5.2.1). */
#ifndef AIONVME_MOCK_CRC_H
#define AIONVME_MOCK_CRC_H

#include <stddef.h>
#include <stdint.h>

static uint16_t mock_crc16_table[256];
static uint64_t mock_crc64_table[256];

static inline void mock_crc_init(void)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        uint16_t low = (uint16_t)(byte << 8);
        uint64_t high = byte;

        for (int bit = 0; bit < 8; bit++) {
            /* Most significant bit first, 8BB7h. */
            low = (uint16_t)(low << 1) ^ (low & 0x8000 ? 0x8BB7 : 0);
            /* Least significant bit first: AD93D23594C93659h, mirrored. */
            high = high >> 1 ^ (high & 1 ? UINT64_C(0x9A6C9329AC4BC9B5) : 0);
        }
        mock_crc16_table[byte] = low;
        mock_crc64_table[byte] = high;
    }
}

/* Starts with 0. */
static inline uint16_t mock_crc16(uint16_t crc, const uint8_t *data, size_t nbytes)
{
    while (nbytes--)
        crc = (uint16_t)(crc << 8) ^ mock_crc16_table[(uint8_t)(crc >> 8) ^ *data++];
    return crc;
}

/* Starts with 0; the inversions at both ends are inside. */
static inline uint64_t mock_crc64(uint64_t crc, const uint8_t *data, size_t nbytes)
{
    crc = ~crc;
    while (nbytes--)
        crc = crc >> 8 ^ mock_crc64_table[(uint8_t)crc ^ *data++];
    return ~crc;
}

#endif
