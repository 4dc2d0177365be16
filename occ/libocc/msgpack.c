#include "msgpack.h"

#include <string.h>

static bool take(struct reader* reader, size_t size, const uint8_t** bytes) {
    if ((size_t)(reader->end - reader->at) < size)
        return false;
    *bytes = reader->at;
    reader->at += size;
    return true;
}

static bool take_number(struct reader* reader, size_t size, uint64_t* number) {
    const uint8_t* bytes;
    if (!take(reader, size, &bytes))
        return false;
    *number = 0;
    for (size_t i = 0; i < size; i++)
        *number = *number << 8 | bytes[i];
    return true;
}

static bool give_int(struct token* token, int64_t number) {
    token->type = TOKEN_INT;
    token->number = number;
    token->real = (double)number;
    return true;
}

static bool take_float(struct reader* reader, size_t size, struct token* token) {
    uint64_t bits;
    if (!take_number(reader, size, &bits))
        return false;
    token->type = TOKEN_FLOAT;
    if (size == sizeof(float)) {
        uint32_t half = (uint32_t)bits;
        float real;
        memcpy(&real, &half, sizeof real);
        token->real = real;
    } else {
        memcpy(&token->real, &bits, sizeof token->real);
    }
    return true;
}

static bool take_text(struct reader* reader, uint64_t size, struct token* token) {
    const uint8_t* bytes;
    if (!take(reader, size, &bytes))
        return false;
    token->text = (struct occ_text){(const char*)bytes, size};
    return true;
}

/* An item takes at least a byte, a pair two: a count that the frame cannot hold is a lie. */
static bool take_count(struct reader* reader, uint64_t count, size_t item_bytes, struct token* token) {
    token->count = (uint32_t)count;
    return count <= (size_t)(reader->end - reader->at) / item_bytes;
}

bool occ_read_token(struct reader* reader, struct token* token) {
    const uint8_t* bytes;
    uint64_t number;
    if (!take(reader, 1, &bytes))
        return false;
    uint8_t tag = *bytes;
    *token = (struct token){.type = TOKEN_OTHER};
    if (tag <= 0x7f || tag >= 0xe0)
        return give_int(token, (int8_t)tag);
    if (tag <= 0x8f) {
        token->type = TOKEN_MAP;
        return take_count(reader, tag & 0x0f, 2, token);
    }
    if (tag <= 0x9f) {
        token->type = TOKEN_ARRAY;
        return take_count(reader, tag & 0x0f, 1, token);
    }
    if (tag <= 0xbf) {
        token->type = TOKEN_TEXT;
        return take_text(reader, tag & 0x1f, token);
    }
    switch (tag) {
    case 0xc0: /* nil */
        return true;
    case 0xc2:
    case 0xc3:
        token->type = TOKEN_BOOL;
        token->number = tag & 1;
        return true;
    case 0xc4: /* bytes, passed over */
    case 0xc5:
    case 0xc6:
        return take_number(reader, (size_t)1 << (tag - 0xc4), &number) && take_text(reader, number, token);
    case 0xc7: /* extension: length, type, data */
    case 0xc8:
    case 0xc9:
        return take_number(reader, (size_t)1 << (tag - 0xc7), &number) && take_text(reader, number + 1, token);
    case 0xca:
    case 0xcb:
        return take_float(reader, tag == 0xca ? 4 : 8, token);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        if (!take_number(reader, (size_t)1 << (tag - 0xcc), &number))
            return false;
        if (number <= INT64_MAX)
            return give_int(token, (int64_t)number);
        token->type = TOKEN_FLOAT;
        token->real = (double)number;
        return true;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3: {
        size_t size = (size_t)1 << (tag - 0xd0);
        if (!take_number(reader, size, &number))
            return false;
        unsigned unused_bits = 64 - 8 * (unsigned)size;
        return give_int(token, (int64_t)(number << unused_bits) >> unused_bits);
    }
    case 0xd4: /* extension of fixed length */
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return take(reader, 1 + ((size_t)1 << (tag - 0xd4)), &bytes);
    case 0xd9:
    case 0xda:
    case 0xdb:
        token->type = TOKEN_TEXT;
        return take_number(reader, (size_t)1 << (tag - 0xd9), &number) && take_text(reader, number, token);
    case 0xdc:
    case 0xdd:
        token->type = TOKEN_ARRAY;
        return take_number(reader, (size_t)2 << (tag - 0xdc), &number) && take_count(reader, number, 1, token);
    case 0xde:
    case 0xdf:
        token->type = TOKEN_MAP;
        return take_number(reader, (size_t)2 << (tag - 0xde), &number) && take_count(reader, number, 2, token);
    default: /* 0xc1 is never used */
        return false;
    }
}

/* Pass over one value, whatever it holds: a counter of values still to come stands in for recursion. */
bool occ_skip(struct reader* reader) {
    for (uint64_t left = 1; left > 0; left--) {
        struct token token;
        if (!occ_read_token(reader, &token))
            return false;
        if (token.type == TOKEN_ARRAY)
            left += token.count;
        if (token.type == TOKEN_MAP)
            left += 2 * (uint64_t)token.count;
    }
    return true;
}

/* Return the length of the UTF-8 character at the start, 0 if there is none. */
size_t occ_character(const uint8_t* bytes, size_t size) {
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = bytes[0];
    if (lead < 0x80)
        return 1;
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || length > size)
        return 0;
    uint32_t code = lead & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (bytes[i] & 0x3f);
    }
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < smallest[length] || code > 0x10ffff || surrogate ? 0 : length;
}

bool occ_read_text(struct reader* reader, struct occ_text* text) {
    struct token token;
    if (!occ_read_token(reader, &token) || token.type != TOKEN_TEXT)
        return false;
    *text = token.text;
    for (size_t i = 0; i < text->size;) {
        size_t length = occ_character((const uint8_t*)text->bytes + i, text->size - i);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

static void put(struct writer* writer, const void* bytes, size_t size) {
    if (size > writer->left) {
        writer->full = true;
        return;
    }
    if (size > 0)
        memcpy(writer->at, bytes, size);
    writer->at += size;
    writer->left -= size;
}

static void put_tagged(struct writer* writer, uint8_t tag, uint64_t number, unsigned size) {
    uint8_t bytes[9] = {tag};
    for (unsigned i = 0; i < size; i++)
        bytes[1 + i] = (uint8_t)(number >> 8 * (size - 1 - i));
    put(writer, bytes, 1 + size);
}

void occ_put_int(struct writer* writer, int64_t number) {
    uint64_t bits = (uint64_t)number;
    if (number >= -32 && number <= 127)
        put_tagged(writer, (uint8_t)bits, 0, 0);
    else if (number >= 0) {
        unsigned log2 = bits <= UINT8_MAX ? 0 : bits <= UINT16_MAX ? 1 : bits <= UINT32_MAX ? 2 : 3;
        put_tagged(writer, (uint8_t)(0xcc + log2), bits, 1u << log2);
    } else {
        unsigned log2 = number >= INT8_MIN ? 0 : number >= INT16_MIN ? 1 : number >= INT32_MIN ? 2 : 3;
        put_tagged(writer, (uint8_t)(0xd0 + log2), bits, 1u << log2);
    }
}

void occ_put_float(struct writer* writer, double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    put_tagged(writer, 0xcb, bits, sizeof bits);
}

void occ_put_text(struct writer* writer, struct occ_text text) {
    if (text.size < 32)
        put_tagged(writer, (uint8_t)(0xa0 | text.size), 0, 0);
    else {
        unsigned log2 = text.size <= UINT8_MAX ? 0 : text.size <= UINT16_MAX ? 1 : 2;
        put_tagged(writer, (uint8_t)(0xd9 + log2), text.size, 1u << log2);
    }
    put(writer, text.bytes, text.size);
}

void occ_put_bool(struct writer* writer, bool truth) {
    put_tagged(writer, truth ? 0xc3 : 0xc2, 0, 0);
}

void occ_put_array(struct writer* writer, uint32_t count) {
    put_tagged(writer, (uint8_t)(0x90 | count), 0, 0);
}

void occ_put_map(struct writer* writer, uint32_t count) {
    if (count < 16)
        put_tagged(writer, (uint8_t)(0x80 | count), 0, 0);
    else
        put_tagged(writer, count <= UINT16_MAX ? 0xde : 0xdf, count, count <= UINT16_MAX ? 2 : 4);
}
