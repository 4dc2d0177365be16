#include "wire.h"
#include "msgpack.h"

#include <string.h>

static bool read_map(struct reader* reader, struct occ_map* map) {
    struct token token;
    struct occ_text text;
    if (!occ_read_token(reader, &token) || token.type != TOKEN_MAP)
        return false;
    const uint8_t* pairs = reader->at;
    for (uint32_t i = 0; i < token.count; i++)
        if (!occ_read_text(reader, &text) || !occ_read_text(reader, &text))
            return false;
    *map = (struct occ_map){pairs, (size_t)(reader->at - pairs), token.count};
    return true;
}

static bool read_field(struct reader* reader, const struct occ_field* field, void* to) {
    struct token token;
    switch (field->type) {
    case OCC_FIELD_TEXT:
        return occ_read_text(reader, to);
    case OCC_FIELD_MAP:
        return read_map(reader, to);
    case OCC_FIELD_BOOL:
        if (!occ_read_token(reader, &token) || token.type != TOKEN_BOOL)
            return false;
        *(bool*)to = token.number != 0;
        return true;
    case OCC_FIELD_FLOAT:
        if (!occ_read_token(reader, &token) || (token.type != TOKEN_FLOAT && token.type != TOKEN_INT))
            return false;
        *(double*)to = token.real;
        return true;
    default:
        if (!occ_read_token(reader, &token) || token.type != TOKEN_INT)
            return false;
        *(int64_t*)to = token.number;
        return field->allowed == 0 ||
               (token.number >= 0 && token.number < 64 && (field->allowed >> token.number & 1) != 0);
    }
}

static const struct occ_schema* find_schema(int64_t kind) {
    for (size_t i = 0; i < sizeof occ_schemas / sizeof *occ_schemas; i++)
        if (occ_schemas[i].kind == kind)
            return &occ_schemas[i];
    return NULL;
}

/* All members of the union begin at the same place: field offsets count from there. */
static char* body(const struct occ_message* message) {
    return (char*)(uintptr_t)&message->hello;
}

int occ_wire_decode(const uint8_t* frame, size_t size, struct occ_message* message) {
    struct reader reader = {frame, frame + size};
    struct token items, kind;
    if (size > OCC_MAX_FRAME_BYTES || !occ_read_token(&reader, &items) || items.type != TOKEN_ARRAY || items.count == 0)
        return OCC_E_FRAME;
    if (!occ_read_token(&reader, &kind) || kind.type != TOKEN_INT)
        return OCC_E_FRAME;
    const struct occ_schema* schema = find_schema(kind.number);
    uint32_t fields = items.count - 1;
    if (schema == NULL || fields < schema->required)
        return OCC_E_FRAME;
    memset(message, 0, sizeof *message);
    message->kind = kind.number;
    for (uint32_t i = 0; i < schema->count; i++) {
        const struct occ_field* field = &schema->fields[i];
        void* to = body(message) + field->offset;
        if (i < fields) {
            if (!read_field(&reader, field, to))
                return OCC_E_FRAME;
        } else if (field->type == OCC_FIELD_INT) {
            *(int64_t*)to = field->fallback;
        } else if (field->type == OCC_FIELD_BOOL) {
            *(bool*)to = field->fallback != 0;
        }
    }
    for (uint32_t i = schema->count; i < fields; i++) /* fields of a later version */
        if (!occ_skip(&reader))
            return OCC_E_FRAME;
    return reader.at == reader.end ? 0 : OCC_E_FRAME;
}

int occ_wire_next_pair(struct occ_map* map, struct occ_text* key, struct occ_text* value) {
    struct reader reader = {map->pairs, map->pairs + map->size};
    if (map->count == 0 || !occ_read_text(&reader, key) || !occ_read_text(&reader, value))
        return 0;
    *map = (struct occ_map){reader.at, (size_t)(reader.end - reader.at), map->count - 1};
    return 1;
}

size_t occ_wire_clean_text(const char* text, size_t size, char* clean, size_t capacity) {
    size_t used = 0;
    for (size_t i = 0; i < size;) {
        size_t length = occ_character((const uint8_t*)text + i, size - i);
        size_t taken = length > 0 ? length : 1;
        if (used + taken >= capacity)
            break;
        if (length > 0)
            memcpy(clean + used, text + i, length);
        else
            clean[used] = '?';
        used += taken;
        i += taken;
    }
    clean[used] = '\0';
    return used;
}

static void put_map(struct writer* writer, struct occ_map map) {
    struct occ_text key, value;
    occ_put_map(writer, map.count);
    while (occ_wire_next_pair(&map, &key, &value)) {
        occ_put_text(writer, key);
        occ_put_text(writer, value);
    }
}

int occ_wire_encode(const struct occ_message* message, uint8_t* frame, size_t* size) {
    const struct occ_schema* schema = find_schema(message->kind);
    if (schema == NULL)
        return OCC_E_ARGUMENT;
    struct writer writer = {frame, *size, false};
    occ_put_array(&writer, schema->count + 1u);
    occ_put_int(&writer, schema->kind);
    for (unsigned i = 0; i < schema->count; i++) {
        const void* from = body(message) + schema->fields[i].offset;
        switch (schema->fields[i].type) {
        case OCC_FIELD_TEXT:
            occ_put_text(&writer, *(const struct occ_text*)from);
            break;
        case OCC_FIELD_MAP:
            put_map(&writer, *(const struct occ_map*)from);
            break;
        case OCC_FIELD_FLOAT:
            occ_put_float(&writer, *(const double*)from);
            break;
        case OCC_FIELD_BOOL:
            occ_put_bool(&writer, *(const bool*)from);
            break;
        default:
            occ_put_int(&writer, *(const int64_t*)from);
        }
    }
    *size -= writer.left;
    return writer.full ? OCC_E_SPACE : 0;
}
