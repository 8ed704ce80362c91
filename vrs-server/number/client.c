#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/local.h"
#include "lib/secret.h"
#include "lib/wire.h"
#include "vrs-server/number/number.h"

enum {
    MANY = 2000, /* requests in flight at once */
    OUT_MAX = MANY * 512,
    REST_MS = 2000, /* nothing is asked for so long after a time-out */
    PROBE_MS = 1000 /* deadline of the first call after that */
};

struct number_client {
    struct local_client *line;
    int64_t deadline_ms;
    bool silent; /* the last call had no answer in time: a worker that waits serves nobody */
    int64_t rest_until_ms;
    uint64_t next_id; /* never used twice, so that a late answer cannot be taken for another */
};

/* One call: n requests of one kind and what becomes of them. */
struct call {
    enum number_verb verb;
    const char *municipality;
    const struct record_id *rows;          /* n, or NULL */
    const struct personal_number *numbers; /* n, or NULL */
    const struct number_access *why;       /* NULL: the verb has none */
    const char *name;
    const struct buffer *sent; /* NUMBER_T_TEXT of the request, or NULL */
    size_t n;
    uint64_t first_id;
    size_t left;
    enum vrs_err *errs; /* n; ERR_IN_PROGRESS: not answered yet */
    enum vrs_err one;   /* errs of a single request */
    /* Filled by the answer when wanted: */
    struct record_id *row; /* n */
    struct personal_number *number;
    struct buffer *text;     /* bytes of NUMBER_T_TEXT */
    struct buffer *row_list; /* all NUMBER_T_ROW, one behind the other */
};

enum vrs_err number_client_open(const char *socket_path, int64_t deadline_ms,
                                struct number_client **out) {
    *out = NULL;
    struct number_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_MEMORY;
    c->deadline_ms = deadline_ms;
    c->next_id = 1;
    enum vrs_err e = local_client_open(socket_path, OUT_MAX, NUMBER_MAX_MESSAGE, &c->line);
    if (e != VRS_OK)
        free(c);
    else
        *out = c;
    return e;
}

void number_client_close(struct number_client **c) {
    if (*c == NULL)
        return;
    local_client_close(&(*c)->line);
    free(*c);
    *c = NULL;
}

/* ---- messages */

static void write_request(struct number_client *c, const struct call *call, size_t i) {
    struct buffer *b = local_client_out(c->line);
    size_t mark = local_begin(b);
    wire_put_u64(b, NUMBER_T_VERB, call->verb);
    wire_put_u64(b, NUMBER_T_ID, call->first_id + i);
    wire_put_str(b, NUMBER_T_MUNICIPALITY, call->municipality);
    if (call->rows != NULL)
        wire_put(b, NUMBER_T_ROW, call->rows[i].bytes, sizeof call->rows[i].bytes);
    if (call->numbers != NULL)
        wire_put(b, NUMBER_T_NUMBER, call->numbers[i].digits, 12);
    if (call->why != NULL) {
        wire_put_str(b, NUMBER_T_RIGHT, call->why->right);
        wire_put_str(b, NUMBER_T_PURPOSE, call->why->purpose);
        wire_put_str(b, NUMBER_T_USER, call->why->user);
    }
    wire_put_str(b, NUMBER_T_NAME, call->name);
    if (call->sent != NULL)
        wire_put(b, NUMBER_T_TEXT, call->sent->data, call->sent->len);
    local_end(b, mark);
}

static enum vrs_err take_field(const struct call *call, size_t i, const struct wire_field *f) {
    bool ok = true;
    switch (f->tag) {
    case NUMBER_T_ROW:
        if (call->row_list != NULL)
            ok = f->len == STORE_ID_BYTES && buffer_put(call->row_list, f->data, f->len);
        else
            ok = call->row != NULL && wire_fixed(f, call->row[i].bytes, sizeof call->row[i].bytes);
        break;
    case NUMBER_T_NUMBER:
        ok = call->number != NULL && f->len == 12 &&
             wire_str(f, call->number->digits, sizeof call->number->digits);
        break;
    case NUMBER_T_TEXT:
        ok = call->text != NULL && buffer_put(call->text, f->data, f->len);
        break;
    default:
        ok = false;
    }
    return ok ? VRS_OK : ERR_PROTOCOL;
}

/* The three fields that begin every answer, in their order. */
static enum vrs_err read_answer(const uint8_t *p, size_t n, bool *done, void *arg) {
    struct call *call = arg;
    struct wire_reader r;
    struct wire_field f[3];
    uint64_t verb, id;
    char name[40];
    enum vrs_err err;
    bool more = true;
    wire_open(&r, p, n);
    for (int i = 0; i < 3; i++)
        if (wire_next(&r, &f[i], &more) != VRS_OK || !more)
            return ERR_PROTOCOL;
    if (f[0].tag != NUMBER_T_VERB || !wire_u64(&f[0], &verb) || verb != NUMBER_ANSWER ||
        f[1].tag != NUMBER_T_ID || !wire_u64(&f[1], &id) || id < call->first_id ||
        id - call->first_id >= call->n || f[2].tag != NUMBER_T_ERR ||
        !wire_str(&f[2], name, sizeof name) || !err_by_name(name, &err))
        return ERR_PROTOCOL;
    enum vrs_err *slot = &call->errs[id - call->first_id];
    if (*slot != ERR_IN_PROGRESS || err == ERR_IN_PROGRESS)
        return ERR_PROTOCOL;
    for (;;) {
        enum vrs_err e = wire_next(&r, &f[0], &more);
        if (e == VRS_OK && more)
            e = take_field(call, id - call->first_id, &f[0]);
        if (e != VRS_OK)
            return ERR_PROTOCOL;
        if (!more)
            break;
    }
    *slot = err;
    call->left--;
    *done = call->left == 0;
    return VRS_OK;
}

/* ---- one exchange */

/* Sends what has no answer yet and reads until all have one.  ERR_NUMBER_AWAY: nothing was asked. */
static enum vrs_err attempt(struct number_client *c, struct call *call, int64_t until_ms) {
    call->first_id = c->next_id;
    c->next_id += call->n;
    for (size_t i = 0; i < call->n; i++)
        if (call->errs[i] == ERR_IN_PROGRESS)
            write_request(c, call, i);
    enum vrs_err e = local_exchange(c->line, read_answer, call, until_ms);
    return e == ERR_INSIDE_AWAY ? ERR_NUMBER_AWAY : e;
}

static bool repeatable(const struct call *call) {
    return call->verb != NUMBER_BACKUP && call->verb != NUMBER_RESTORE;
}

/* How long a call may take; 0: it is not asked at all. */
static int64_t patience(const struct number_client *c, const struct call *call) {
    if (!c->silent || !repeatable(call))
        return c->deadline_ms;
    if (clock_mono_ms() < c->rest_until_ms)
        return 0;
    return c->deadline_ms < PROBE_MS ? c->deadline_ms : PROBE_MS;
}

static void run(struct number_client *c, struct call *call) {
    int64_t patience_ms = patience(c, call), until_ms = clock_mono_ms() + patience_ms;
    bool asked = false;
    enum vrs_err e = patience_ms == 0 ? ERR_NUMBER_AWAY : VRS_OK;
    for (int turn = 0; turn < 2 && patience_ms > 0; turn++) {
        e = attempt(c, call, until_ms);
        asked |= e == ERR_UNKNOWN || e == ERR_TIMEOUT || e == ERR_PROTOCOL;
        if (e == VRS_OK || e == ERR_TIMEOUT || e == ERR_PROTOCOL || e == ERR_TOO_LARGE ||
            !repeatable(call))
            break;
    }
    if (repeatable(call) && patience_ms > 0) { /* a backup may take long */
        c->silent = e == ERR_TIMEOUT;
        c->rest_until_ms = clock_mono_ms() + REST_MS;
    }
    if (e == VRS_OK)
        return;
    if (asked)
        e = e == ERR_PROTOCOL ? ERR_PROTOCOL : ERR_UNKNOWN;
    for (size_t i = 0; i < call->n; i++)
        if (call->errs[i] == ERR_IN_PROGRESS)
            call->errs[i] = e;
}

/* What vrs-number would take as a broken peer is refused here. */
static enum vrs_err check_texts(const struct call *call) {
    const struct number_access *w = call->why;
    if (call->municipality != NULL && strnlen(call->municipality, 7) != 6)
        return ERR_NO_SUCH_MUNICIPALITY;
    if (call->name != NULL && strnlen(call->name, NUMBER_MAX_NAME + 1) > NUMBER_MAX_NAME)
        return ERR_BAD_FIELD;
    if (w == NULL)
        return VRS_OK;
    if ((w->right != NULL && strnlen(w->right, NUMBER_MAX_RIGHT + 1) > NUMBER_MAX_RIGHT) ||
        (w->purpose != NULL && strnlen(w->purpose, NUMBER_MAX_PURPOSE + 1) > NUMBER_MAX_PURPOSE) ||
        (w->user != NULL && strnlen(w->user, NUMBER_MAX_USER + 1) > NUMBER_MAX_USER))
        return ERR_BAD_FIELD;
    return VRS_OK;
}

static void ask(struct number_client *c, struct call *call) {
    enum vrs_err e = check_texts(call);
    call->left = 0;
    for (size_t i = 0; i < call->n; i++) {
        call->errs[i] = e;
        if (e != VRS_OK)
            continue;
        if (call->numbers != NULL && strnlen(call->numbers[i].digits, 13) != 12) {
            call->errs[i] = ERR_R170;
            continue;
        }
        call->errs[i] = ERR_IN_PROGRESS;
        call->left++;
    }
    if (call->left > 0)
        run(c, call);
}

static enum vrs_err ask_one(struct number_client *c, struct call *call) {
    call->n = 1;
    call->errs = &call->one;
    ask(c, call);
    return call->one;
}

/* ---- verbs */

enum vrs_err number_put(struct number_client *c, const char *municipality,
                        const struct record_id *row, const struct personal_number *n,
                        const struct number_access *why) {
    struct call call = {
        .verb = NUMBER_PUT, .municipality = municipality, .rows = row, .numbers = n, .why = why};
    return ask_one(c, &call);
}

enum vrs_err number_put_many(struct number_client *c, const char *municipality,
                             const struct record_id *rows, const struct personal_number *n,
                             size_t count, const struct number_access *why, enum vrs_err *errs) {
    enum vrs_err first = VRS_OK;
    for (size_t at = 0; at < count; at += MANY) {
        struct call call = {.verb = NUMBER_PUT,
                            .municipality = municipality,
                            .rows = rows + at,
                            .numbers = n + at,
                            .why = why,
                            .n = count - at < MANY ? count - at : MANY,
                            .errs = errs + at};
        ask(c, &call);
    }
    for (size_t i = 0; i < count && first == VRS_OK; i++)
        first = errs[i];
    return first;
}

enum vrs_err number_match(struct number_client *c, const char *municipality,
                          const struct personal_number *n, const struct number_access *why,
                          struct record_id *row) {
    struct call call = {
        .verb = NUMBER_MATCH, .municipality = municipality, .numbers = n, .why = why, .row = row};
    return ask_one(c, &call);
}

void number_match_many(struct number_client *c, const char *municipality,
                       const struct personal_number *n, size_t count,
                       const struct number_access *why, struct record_id *rows,
                       enum vrs_err *errs) {
    for (size_t at = 0; at < count; at += MANY) {
        struct call call = {.verb = NUMBER_MATCH,
                            .municipality = municipality,
                            .numbers = n + at,
                            .why = why,
                            .row = rows + at,
                            .n = count - at < MANY ? count - at : MANY,
                            .errs = errs + at};
        ask(c, &call);
    }
}

enum vrs_err number_reveal(struct number_client *c, const char *municipality,
                           const struct record_id *row, const struct number_access *why,
                           struct personal_number *out) {
    struct call call = {.verb = NUMBER_REVEAL,
                        .municipality = municipality,
                        .rows = row,
                        .why = why,
                        .number = out};
    memset(out, 0, sizeof *out);
    enum vrs_err e = ask_one(c, &call);
    if (e == VRS_OK && out->digits[0] == '\0')
        e = ERR_PROTOCOL;
    if (e != VRS_OK)
        secret_wipe(out, sizeof *out);
    return e;
}

enum vrs_err number_erase(struct number_client *c, const char *municipality,
                          const struct record_id *row) {
    struct call call = {.verb = NUMBER_ERASE, .municipality = municipality, .rows = row};
    return ask_one(c, &call);
}

enum vrs_err number_erase_many(struct number_client *c, const char *municipality,
                               const struct buffer *rows) {
    _Static_assert(sizeof(struct record_id) == STORE_ID_BYTES, "row ids stand side by side");
    const size_t count = rows->len / STORE_ID_BYTES;
    enum vrs_err first = VRS_OK;
    for (size_t at = 0; at < count && first == VRS_OK; at += MANY) {
        enum vrs_err errs[MANY];
        struct call call = {.verb = NUMBER_ERASE,
                            .municipality = municipality,
                            .rows = (const struct record_id *)rows->data + at,
                            .n = count - at < MANY ? count - at : MANY,
                            .errs = errs};
        ask(c, &call);
        for (size_t i = 0; i < call.n && first == VRS_OK; i++)
            first = errs[i] == ERR_NOT_FOUND ? VRS_OK : errs[i];
    }
    return first;
}

/* A page is read whole before fn sees it, so that fn may use the client. */
enum vrs_err number_list(struct number_client *c, const char *municipality, struct record_id *last,
                         bool *more, number_row_fn *fn, void *arg) {
    struct buffer page;
    struct call call = {
        .verb = NUMBER_LIST, .municipality = municipality, .rows = last, .row_list = &page};
    buffer_init(&page, NUMBER_MAX_MESSAGE);
    enum vrs_err e = ask_one(c, &call);
    size_t rows = page.len / sizeof last->bytes;
    *more = rows > 0;
    for (size_t i = 0; i < rows && e == VRS_OK; i++) {
        memcpy(last->bytes, page.data + i * sizeof last->bytes, sizeof last->bytes);
        e = fn(last, arg);
    }
    buffer_fini(&page);
    return e;
}

enum vrs_err number_backup(struct number_client *c, const char *municipality, const char *name) {
    struct call call = {.verb = NUMBER_BACKUP, .municipality = municipality, .name = name};
    return ask_one(c, &call);
}

enum vrs_err number_restore(struct number_client *c, const char *municipality, const char *name) {
    struct call call = {.verb = NUMBER_RESTORE, .municipality = municipality, .name = name};
    return ask_one(c, &call);
}

enum vrs_err number_destroy(struct number_client *c, const char *municipality) {
    struct call call = {.verb = NUMBER_DESTROY, .municipality = municipality};
    return ask_one(c, &call);
}

enum vrs_err number_status(struct number_client *c, struct buffer *text) {
    struct call call = {.verb = NUMBER_STATUS, .text = text};
    return ask_one(c, &call);
}

static bool read_one_rotation(const struct wire_field *nested, struct rotation *out) {
    struct wire_reader reader;
    struct wire_field f;
    uint64_t numbers[NUMBER_ROTATION_BY] = {0};
    bool more = true;
    wire_nested(&reader, nested);
    while (wire_next(&reader, &f, &more) == VRS_OK && more) {
        bool good = f.tag == NUMBER_ROTATION_BY  ? wire_str(&f, out->by, sizeof out->by)
                    : f.tag < NUMBER_ROTATION_BY ? wire_u64(&f, &numbers[f.tag])
                                                 : false;
        if (!good)
            return false;
    }
    if (more || numbers[1] < ROTATE_PREPARED || numbers[1] > ROTATE_DONE)
        return false;
    out->area = KEY_NUMBERS;
    out->what = nested->tag == NUMBER_ROTATION_DATA ? ROTATE_DATA : ROTATE_INDEX;
    out->phase = (enum rotate_phase)numbers[1];
    out->from_key = (uint32_t)numbers[2];
    out->to_key = (uint32_t)numbers[3];
    out->done = numbers[4];
    out->total = numbers[5];
    out->changed = numbers[6];
    out->begun_ms = (int64_t)numbers[7];
    out->ended_ms = (int64_t)numbers[8];
    return true;
}

static bool read_rotation(const struct buffer *text, struct number_rotation *out) {
    struct wire_reader reader;
    struct wire_field f;
    bool more = true, good = true;
    wire_open(&reader, text->data, text->len);
    while (good && wire_next(&reader, &f, &more) == VRS_OK && more) {
        if (f.tag == NUMBER_ROTATION_KEKS)
            good = wire_u64(&f, &out->keys_under_previous_kek);
        else if (f.tag == NUMBER_ROTATION_DATA || f.tag == NUMBER_ROTATION_INDEX)
            good = read_one_rotation(&f, &out->of[f.tag - NUMBER_ROTATION_DATA]);
        else
            good = false;
    }
    return good && !more;
}

enum vrs_err number_rotate(struct number_client *c, const char *municipality, const char *order,
                           const char *by, struct number_rotation *out) {
    const struct number_access why = {.user = by};
    struct buffer text;
    buffer_init(&text, NUMBER_MAX_MESSAGE);
    struct call call = {.verb = NUMBER_ROTATE,
                        .municipality = municipality,
                        .name = order,
                        .why = &why,
                        .text = &text};
    memset(out, 0, sizeof *out);
    enum vrs_err e = ask_one(c, &call);
    if (e == VRS_OK && !read_rotation(&text, out))
        e = ERR_PROTOCOL;
    buffer_fini(&text);
    return e;
}

/* ---- migration */

enum vrs_err number_carry_key(struct number_client *c, const char *municipality,
                              uint8_t out[CRYPTO_X25519_BYTES]) {
    struct buffer text;
    buffer_init(&text, CRYPTO_X25519_BYTES);
    struct call call = {.verb = NUMBER_CARRY_KEY, .municipality = municipality, .text = &text};
    enum vrs_err e = ask_one(c, &call);
    if (e == VRS_OK && text.len != CRYPTO_X25519_BYTES)
        e = ERR_PROTOCOL;
    if (e == VRS_OK)
        memcpy(out, text.data, CRYPTO_X25519_BYTES);
    buffer_fini(&text);
    return e;
}

enum vrs_err number_carry_out(struct number_client *c, const char *municipality,
                              const uint8_t to[CRYPTO_X25519_BYTES], const char *by,
                              struct number_page *page, bool *any) {
    static const struct record_id none;
    const struct number_access why = {.user = by};
    char key[2 * CRYPTO_X25519_BYTES + 1];
    crypto_hex(to, CRYPTO_X25519_BYTES, key);
    page->last = none;
    buffer_clear(&page->sealed);
    struct call call = {.verb = NUMBER_CARRY_OUT,
                        .municipality = municipality,
                        .rows = record_id_equal(&page->after, &none) ? NULL : &page->after,
                        .why = &why,
                        .name = key,
                        .row = &page->last,
                        .text = &page->sealed};
    enum vrs_err e = ask_one(c, &call);
    *any = e == VRS_OK && page->sealed.len > 0;
    return e;
}

enum vrs_err number_carry_in(struct number_client *c, const char *municipality,
                             const struct number_page *page, bool store) {
    struct buffer text;
    buffer_init(&text, NUMBER_MAX_MESSAGE);
    (void)buffer_put(&text, page->last.bytes, sizeof page->last.bytes);
    (void)buffer_put(&text, page->sealed.data, page->sealed.len);
    struct call call = {.verb = NUMBER_CARRY_IN,
                        .municipality = municipality,
                        .rows = &page->after,
                        .name = store ? "store" : "check",
                        .sent = &text};
    enum vrs_err e = text.failed ? ERR_TOO_LARGE : ask_one(c, &call);
    buffer_fini(&text);
    return e;
}
