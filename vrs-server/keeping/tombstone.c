#include "vrs-server/keeping/tombstone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/file.h"
#include "lib/wire.h"
#include "partitions/fields.h"

enum { MARKER = 3 /* state of a row that marks an erased reading */ };
enum { LIST_MAX_BYTES = 1 << 20, PATH_BYTES = 600, ENTRY_MAX_BYTES = 2 << 20, HEAD_BYTES = 8 };
enum { TAG_COUNT = 30, TAG_CLAIMS, TAG_NUMBERS, TAG_BLINDS };
enum { COUNT_NAME = 1, COUNT_N };
enum { PAGE = 500 };

static const struct field members[] = {
    FIELD(1, FIELD_I32, struct tombstone, what),
    FIELD(2, FIELD_BYTES, struct tombstone, person),
    FIELD(3, FIELD_I64, struct tombstone, at_ms),
    FIELD(4, FIELD_TEXT, struct tombstone, by),
    FIELD(5, FIELD_TEXT, struct tombstone, approver),
    FIELD(6, FIELD_TEXT, struct tombstone, reason),
    FIELD(7, FIELD_TEXT, struct tombstone, request),
    FIELD(8, FIELD_BOOL, struct tombstone, automatic),
    FIELD(9, FIELD_TEXT, struct tombstone, before.epoch),
    FIELD(10, FIELD_I64, struct tombstone, before.size),
    FIELD(11, FIELD_TEXT, struct tombstone, before.root),
    FIELD(12, FIELD_TEXT, struct tombstone, after.epoch),
    FIELD(13, FIELD_I64, struct tombstone, after.size),
    FIELD(14, FIELD_TEXT, struct tombstone, after.root),
    FIELD(15, FIELD_BYTES, struct tombstone, id),
    {0},
};

void tombstone_init(struct tombstone *t) {
    memset(t, 0, sizeof *t);
    record_id_new(&t->id);
    t->what = TOMBSTONE_PERSON;
    t->at_ms = clock_now_ms();
    buffer_init(&t->claims, LIST_MAX_BYTES);
    buffer_init(&t->numbers, LIST_MAX_BYTES);
    buffer_init(&t->blinds, LIST_MAX_BYTES);
}

void tombstone_fini(struct tombstone *t) {
    buffer_fini(&t->claims);
    buffer_fini(&t->numbers);
    buffer_fini(&t->blinds);
}

enum vrs_err tombstone_of(struct tombstone *t, const struct erased *x) {
    memcpy(t->count, x->count, sizeof t->count);
    bool ok = buffer_put(&t->claims, x->claims.data, x->claims.len) &&
              buffer_put(&t->numbers, x->numbers.data, x->numbers.len) &&
              buffer_put(&t->blinds, x->blinds.data, x->blinds.len);
    return ok ? VRS_OK : ERR_MEMORY;
}

enum vrs_err tombstone_head_now(struct partition *p, struct tombstone_head *out) {
    struct log_head head;
    enum vrs_err e = access_log_head_now(p, &head);
    if (e != VRS_OK)
        return e;
    memcpy(out->epoch, head.epoch, sizeof out->epoch);
    out->size = head.size;
    crypto_hex(head.root.bytes, sizeof head.root.bytes, out->root);
    return VRS_OK;
}

/* --- text --- */

static void encode(const struct tombstone *t, struct buffer *out) {
    fields_encode(members, t, out);
    for (int k = 0; k < ERASED_KIND_COUNT; k++) {
        if (t->count[k] == 0)
            continue;
        size_t mark = wire_begin(out, TAG_COUNT);
        wire_put_str(out, COUNT_NAME, erased_kind_name((enum erased_kind)k));
        wire_put_u64(out, COUNT_N, t->count[k]);
        wire_end(out, mark);
    }
    wire_put(out, TAG_CLAIMS, t->claims.data, t->claims.len);
    wire_put(out, TAG_NUMBERS, t->numbers.data, t->numbers.len);
    wire_put(out, TAG_BLINDS, t->blinds.data, t->blinds.len);
}

static enum vrs_err decode_count(const struct wire_field *count, struct tombstone *t) {
    struct wire_reader r;
    struct wire_field f;
    char name[40] = "";
    uint64_t n = 0;
    bool more, ok = true;
    wire_nested(&r, count);
    enum vrs_err e;
    while ((e = wire_next(&r, &f, &more)) == VRS_OK && more) {
        if (f.tag == COUNT_NAME)
            ok &= wire_str(&f, name, sizeof name);
        else if (f.tag == COUNT_N)
            ok &= wire_u64(&f, &n);
    }
    for (int k = 0; k < ERASED_KIND_COUNT; k++) {
        if (strcmp(erased_kind_name((enum erased_kind)k), name) == 0)
            t->count[k] = n;
    }
    return e == VRS_OK && !ok ? ERR_CORRUPT : e;
}

static enum vrs_err decode(const struct buffer *text, struct tombstone *t) {
    struct wire_reader r;
    struct wire_field f;
    bool more;
    enum vrs_err e = fields_decode(members, text, t);
    wire_open(&r, text->data, text->len);
    while (e == VRS_OK && (e = wire_next(&r, &f, &more)) == VRS_OK && more) {
        bool ok = true;
        if (f.tag == TAG_COUNT)
            e = decode_count(&f, t);
        else if (f.tag == TAG_CLAIMS)
            ok = f.len % ERASE_CLAIM_BYTES == 0 && buffer_put(&t->claims, f.data, f.len);
        else if (f.tag == TAG_NUMBERS)
            ok = f.len % STORE_ID_BYTES == 0 && buffer_put(&t->numbers, f.data, f.len);
        else if (f.tag == TAG_BLINDS)
            ok = buffer_put(&t->blinds, f.data, f.len);
        if (!ok)
            e = ERR_CORRUPT;
    }
    return e;
}

/* --- rows --- */

static bool marks(const uint8_t *receipt, struct store_index *out) {
    static const uint8_t none[STORE_ID_BYTES];
    *out = (struct store_index){.len = STORE_ID_BYTES};
    memcpy(out->bytes, receipt, STORE_ID_BYTES);
    return memcmp(receipt, none, sizeof none) != 0; /* zeros: entered inside */
}

static enum vrs_err put_marker(struct partition *p, const uint8_t *receipt,
                               const struct tombstone *t) {
    struct record r;
    record_init(&r);
    record_id_new(&r.id);
    r.state = MARKER;
    enum vrs_err e = VRS_OK;
    if (marks(receipt, &r.index[0])) {
        wire_put(&r.text, 1, t->id.bytes, sizeof t->id.bytes);
        e = record_insert(p, TABLE_ERASURE, &r);
    }
    record_fini(&r);
    return e;
}

enum vrs_err tombstone_put(struct partition *p, struct tombstone *t) {
    struct record r;
    record_init(&r);
    r.id = t->id;
    r.state = t->what;
    store_index_id(&t->person, &r.index[0]);
    encode(t, &r.text);
    enum vrs_err e = partition_next_order(p, TABLE_ERASURE, &r.order);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_ERASURE, &r);
    t->sequence = r.order;
    record_fini(&r);
    for (size_t at = 0; e == VRS_OK && at < t->claims.len; at += ERASE_CLAIM_BYTES)
        e = put_marker(p, t->claims.data + at + STORE_ID_BYTES, t);
    return e;
}

static enum vrs_err read_row(const struct record *r, struct tombstone *out) {
    enum vrs_err e = decode(&r->text, out);
    out->id = r->id;
    out->sequence = r->order;
    return e;
}

enum vrs_err tombstone_get(struct partition *p, const struct record_id *id, struct tombstone *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_ERASURE, id, &r);
    if (e == VRS_OK && r.state == MARKER)
        e = ERR_NOT_FOUND;
    if (e == VRS_OK)
        e = read_row(&r, out);
    record_fini(&r);
    return e;
}

struct listing {
    tombstone_fn *fn;
    void *arg;
    uint64_t last, seen;
};

static enum vrs_err list_one(struct record *r, void *arg) {
    struct listing *l = arg;
    struct tombstone t;
    l->last = r->order;
    l->seen++;
    tombstone_init(&t);
    enum vrs_err e = read_row(r, &t);
    if (e == VRS_OK)
        e = l->fn(&t, l->arg);
    tombstone_fini(&t);
    return e;
}

enum vrs_err tombstone_list(struct partition *p, uint64_t after, uint64_t limit, tombstone_fn *fn,
                            void *arg) {
    struct listing l = {.fn = fn, .arg = arg}; /* markers have no order: no scan shows them */
    return record_scan(p, TABLE_ERASURE, UINT32_MAX, after, limit, list_one, &l);
}

static enum vrs_err see_marker(struct record *r, void *arg) {
    *(bool *)arg |= r->state == MARKER;
    return VRS_OK;
}

enum vrs_err tombstone_of_receipt(struct partition *p, const uint8_t *receipt, bool *erased) {
    struct store_index index;
    *erased = false;
    return marks(receipt, &index) ? record_find(p, TABLE_ERASURE, 0, &index, see_marker, erased)
                                  : VRS_OK;
}

/* --- the file --- */

void tombstone_path(const struct tombstone_file *f, const char *municipality, char *out,
                    size_t cap) {
    (void)snprintf(out, cap, "%s/%s%s", f->dir, municipality, f->ending != NULL ? f->ending : "");
}

static void aad_of(const char *municipality, uint64_t place, struct buffer *out) {
    wire_put_str(out, 1, "vrs-tombstone-1");
    wire_put_str(out, 2, municipality);
    wire_put_u64(out, 3, place);
}

static uint32_t get_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_u32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* The next whole entry: its head and sealed bytes; false at the end, or at a torn one. */
static bool next_entry(int fd, off_t at, uint8_t head[HEAD_BYTES], struct buffer *sealed) {
    buffer_clear(sealed);
    if (pread(fd, head, HEAD_BYTES, at) != HEAD_BYTES)
        return false;
    uint32_t len = get_u32(head);
    if (len == 0 || len > ENTRY_MAX_BYTES)
        return false;
    uint8_t *to = buffer_grow(sealed, len);
    return to != NULL && pread(fd, to, len, at + HEAD_BYTES) == (ssize_t)len;
}

static enum vrs_err open_entry(const struct tombstone_file *f, const char *municipality,
                               uint64_t place, uint32_t key_id, const struct buffer *sealed,
                               struct tombstone *out) {
    const struct secret_key *key;
    struct buffer aad, text;
    buffer_init(&aad, 256);
    buffer_init(&text, ENTRY_MAX_BYTES);
    aad_of(municipality, place, &aad);
    enum vrs_err e = keyring_by_id(f->keys, municipality, KEY_LOG, KEY_ENCRYPT, key_id, &key);
    if (e == ERR_NOT_FOUND)
        e = ERR_CRYPTO;
    if (e == VRS_OK && sealed->len < CRYPTO_SEAL_OVERHEAD)
        e = ERR_TAMPERED;
    uint8_t *plain = e == VRS_OK ? buffer_grow(&text, sealed->len - CRYPTO_SEAL_OVERHEAD) : NULL;
    if (e == VRS_OK)
        e = plain == NULL ? ERR_MEMORY
                          : crypto_open(key, aad.data, aad.len, sealed->data, sealed->len, plain);
    if (e == VRS_OK)
        e = decode(&text, out);
    buffer_fini(&aad);
    buffer_fini(&text);
    return e;
}

enum vrs_err tombstone_read(const struct tombstone_file *f, const char *municipality,
                            tombstone_fn *fn, void *arg, struct vrs_fault *fault) {
    char path[PATH_BYTES];
    uint8_t head[HEAD_BYTES];
    struct buffer sealed;
    off_t at = 0;
    enum vrs_err e = VRS_OK;
    tombstone_path(f, municipality, path, sizeof path);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? VRS_OK : err_fail(fault, ERR_IO, "open %s", path);
    buffer_init(&sealed, ENTRY_MAX_BYTES);
    for (uint64_t place = 0; e == VRS_OK && next_entry(fd, at, head, &sealed); place++) {
        struct tombstone t;
        tombstone_init(&t);
        e = open_entry(f, municipality, place, get_u32(head + 4), &sealed, &t);
        e = e == VRS_OK ? fn(&t, arg) : err_fail(fault, e, "tombstone %s", path);
        tombstone_fini(&t);
        at += HEAD_BYTES + (off_t)sealed.len;
    }
    buffer_fini(&sealed);
    (void)close(fd);
    return e;
}

/* One entry behind the last whole one. */
static enum vrs_err write_entry(int fd, const struct tombstone_file *f, const char *municipality,
                                const struct tombstone *t) {
    uint8_t head[HEAD_BYTES];
    struct buffer sealed, text, aad;
    const struct secret_key *key;
    uint32_t key_id = 0;
    uint64_t place = 0;
    off_t at = 0;
    buffer_init(&sealed, ENTRY_MAX_BYTES + HEAD_BYTES);
    buffer_init(&text, ENTRY_MAX_BYTES - CRYPTO_SEAL_OVERHEAD);
    buffer_init(&aad, 256);
    for (; next_entry(fd, at, head, &sealed); place++)
        at += HEAD_BYTES + (off_t)sealed.len;
    encode(t, &text);
    aad_of(municipality, place, &aad);
    buffer_clear(&sealed);
    enum vrs_err e = keyring_active(f->keys, municipality, KEY_LOG, KEY_ENCRYPT, &key_id, &key);
    uint8_t *to = buffer_grow(&sealed, HEAD_BYTES + text.len + CRYPTO_SEAL_OVERHEAD);
    if (e == VRS_OK && (to == NULL || text.failed || aad.failed))
        e = ERR_MEMORY;
    if (e == VRS_OK)
        e = crypto_seal(key, aad.data, aad.len, text.data, text.len, to + HEAD_BYTES);
    if (e == VRS_OK) {
        put_u32(to, (uint32_t)(text.len + CRYPTO_SEAL_OVERHEAD));
        put_u32(to + 4, key_id);
        if (ftruncate(fd, at) != 0 ||
            pwrite(fd, sealed.data, sealed.len, at) != (ssize_t)sealed.len || fsync(fd) != 0)
            e = ERR_STORAGE;
    }
    buffer_fini(&sealed);
    buffer_fini(&text);
    buffer_fini(&aad);
    return e;
}

enum vrs_err tombstone_append(const struct tombstone_file *f, const char *municipality,
                              const struct tombstone *t, struct vrs_fault *fault) {
    char path[PATH_BYTES];
    if (mkdir(f->dir, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_STORAGE, "make %s", f->dir);
    tombstone_path(f, municipality, path, sizeof path);
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_fail(fault, ERR_STORAGE, "open %s", path);
    enum vrs_err e = write_entry(fd, f, municipality, t);
    (void)close(fd);
    if (e != VRS_OK)
        return err_fail(fault, e, "write %s", path);
    e = file_sync_dir_of(path, fault);
    return e == VRS_OK ? file_sync_dir_of(f->dir, fault) : e;
}

/* --- both sides alike --- */

struct settling {
    struct partition *partition;
    const struct tombstone_file *file;
    struct erased *erased;
    struct vrs_fault *fault;
    struct buffer known; /* ids in the file */
    uint64_t again, written, last, seen;
};

static enum vrs_err from_file(struct tombstone *t, void *arg) {
    struct settling *s = arg;
    struct store_row row;
    if (!buffer_put(&s->known, t->id.bytes, sizeof t->id.bytes))
        return ERR_MEMORY;
    enum vrs_err e = partition_engine(s->partition)
                         ->get(partition_store(s->partition), TABLE_ERASURE, t->id.bytes, &row);
    if (e != ERR_NOT_FOUND)
        return e;
    s->again++;
    if (t->what == TOMBSTONE_PERSON)
        e = erase_again(s->partition, &t->person, &t->claims, s->erased);
    else
        e = VRS_OK;
    if (e == VRS_OK && !buffer_put(&s->erased->numbers, t->numbers.data, t->numbers.len))
        e = ERR_MEMORY;
    return e == VRS_OK ? tombstone_put(s->partition, t) : e;
}

static bool is_known(const struct settling *s, const struct record_id *id) {
    for (size_t at = 0; at < s->known.len; at += sizeof id->bytes) {
        if (memcmp(s->known.data + at, id->bytes, sizeof id->bytes) == 0)
            return true;
    }
    return false;
}

static enum vrs_err from_row(struct tombstone *t, void *arg) {
    struct settling *s = arg;
    s->last = t->sequence;
    s->seen++;
    if (is_known(s, &t->id))
        return VRS_OK;
    s->written++;
    return tombstone_append(s->file, partition_code(s->partition), t, s->fault);
}

enum vrs_err tombstones_take(struct partition *p, const struct tombstone_file *f, struct erased *x,
                             uint64_t *again, struct vrs_fault *fault) {
    struct settling s = {.partition = p, .file = f, .erased = x, .fault = fault};
    buffer_init(&s.known, 64 << 20);
    enum vrs_err e = tombstone_read(f, partition_code(p), from_file, &s, fault);
    buffer_fini(&s.known);
    *again += s.again;
    return e;
}

enum vrs_err tombstones_settle(struct partition *p, const struct tombstone_file *f,
                               struct erased *x, uint64_t *again, uint64_t *written,
                               struct vrs_fault *fault) {
    struct settling s = {.partition = p, .file = f, .erased = x, .fault = fault, .seen = PAGE};
    buffer_init(&s.known, 64 << 20);
    enum vrs_err e = tombstone_read(f, partition_code(p), from_file, &s, fault);
    while (e == VRS_OK && s.seen == PAGE) {
        s.seen = 0;
        e = tombstone_list(p, s.last, PAGE, from_row, &s);
    }
    *again = s.again;
    *written = s.written;
    buffer_fini(&s.known);
    return e;
}
