#include "vrs-server/number/serve.h"

#include <stdlib.h>
#include <string.h>

#include "lib/local.h"
#include "lib/wire.h"

enum { SMALL_ANSWER = 256 /* longest answer but of those below */ };

struct serve {
    const char *facts;
    struct area *area;
    struct number_request **group; /* LOCAL_ROUND_MAX */
    bool *taken;                   /* into a municipality's group; by request */
};

static enum vrs_err read_request(void *request, const uint8_t *p, size_t n) {
    return number_request_read(request, p, n);
}

static void fini(void *request) {
    number_request_fini(request);
}

static void write_answer(const void *request, struct buffer *out) {
    number_answer_write(request, out);
}

static size_t longest_answer(const void *request) {
    const struct number_request *r = request;
    return r->verb == NUMBER_LIST || r->verb == NUMBER_STATUS || r->verb == NUMBER_ROTATE ||
                   r->verb == NUMBER_CARRY_OUT
               ? NUMBER_MAX_MESSAGE + LOCAL_HEAD_BYTES
               : SMALL_ANSWER;
}

static void status(struct serve *s, const struct local_counts *c, struct number_request *r) {
    struct buffer text;
    buffer_init(&text, NUMBER_MAX_MESSAGE - 256);
    (void)buffer_puts(&text, s->facts == NULL ? "" : s->facts);
    (void)buffer_printf(&text,
                        "connections=%zu\naccepted_total=%llu\nrefused_peers_total=%llu\n"
                        "bad_messages_total=%llu\nrequests_total=%llu\nrounds_total=%llu\n",
                        c->connections, (unsigned long long)c->accepted,
                        (unsigned long long)c->refused_peers, (unsigned long long)c->bad_messages,
                        (unsigned long long)c->requests, (unsigned long long)c->rounds);
    area_status(s->area, &text);
    if (text.failed)
        r->err = ERR_TOO_LARGE;
    else
        wire_put(&r->fields, NUMBER_T_TEXT, text.data, text.len);
    buffer_fini(&text);
}

/* Groups by municipality; order inside a municipality is kept. */
static void run_round(void *requests, size_t count, const struct local_counts *counts, void *arg) {
    struct serve *s = arg;
    struct number_request *r = requests;
    memset(s->taken, 0, count * sizeof *s->taken);
    for (size_t i = 0; i < count; i++) {
        size_t n = 0;
        if (s->taken[i])
            continue;
        if (r[i].verb == NUMBER_STATUS) {
            status(s, counts, &r[i]);
            continue;
        }
        for (size_t k = i; k < count; k++) {
            if (s->taken[k] || r[k].verb == NUMBER_STATUS ||
                strcmp(r[k].municipality, r[i].municipality) != 0)
                continue;
            s->taken[k] = true;
            s->group[n++] = &r[k];
        }
        area_run(s->area, s->group, n);
    }
}

enum vrs_err serve_run(int listener, const struct serve_options *o, struct area *a,
                       struct vrs_fault *fault) {
    struct serve s = {.facts = o->facts,
                      .area = a,
                      .group = calloc(LOCAL_ROUND_MAX, sizeof *s.group),
                      .taken = calloc(LOCAL_ROUND_MAX, sizeof *s.taken)};
    const struct local_options options = {.peer_uid = o->peer_uid,
                                          .max_connections = o->max_connections};
    const struct local_service service = {.peer_refused = "number.peer_refused",
                                          .bad_message = "number.bad_message",
                                          .max_message = NUMBER_MAX_MESSAGE,
                                          .request_bytes = sizeof(struct number_request),
                                          .read = read_request,
                                          .fini = fini,
                                          .longest_answer = longest_answer,
                                          .run = run_round,
                                          .write = write_answer,
                                          .arg = &s};
    enum vrs_err e = s.group != NULL && s.taken != NULL
                         ? local_serve(listener, &options, &service, fault)
                         : err_fail(fault, ERR_MEMORY, "the loop");
    free(s.group);
    free(s.taken);
    return e;
}
