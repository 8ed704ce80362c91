/* Between http.c (server, listeners), http_conn.c (a connection's life) and http_reply.c (requests
 * and answers); nobody else includes it.
 *
 * Life of a connection.  It is on exactly one list, that of its state; all entries of a list have
 * the same time allowed, so a list is in order of its deadlines and the tick looks at heads only.
 *
 *   HANDSHAKE -> HEAD -> BODY -> BUSY -> WRITE -> IDLE -> HEAD ...
 *                  \      /                 \
 *                   LINGER (refused: answer, close our half, read on a little, end)
 *
 * HEAD   bytes of a head have come; libevent's parser does not see them yet.
 * BODY   http_head_read accepted the head and conn->rq exists; evhttp parses it and reads the body.
 * BUSY   the handler has the request and has not answered; reading is off.
 * WRITE  an answer is being sent (streams: from the first chunk on); reading is off.
 *
 * Invariants
 *   I1 evhttp never sees a head that http_head_read refused.
 *   I2 conn->rq is set in BODY, BUSY and during a stream; conn->evreq from BUSY to the end of
 * WRITE. I3 a request that was handed out belongs to its handler: when the connection ends first,
 *      rq->conn becomes NULL and evhttp lets go of rq->evreq, which the answer then frees.
 *   I4 every end passes on_close, which libevent calls while the bufferevent is still whole.
 *   I5 input held for a connection <= its read watermark + one TLS record. */
#ifndef VRS_LIB_HTTP_PRIVATE_H
#define VRS_LIB_HTTP_PRIVATE_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/http.h>
#include <openssl/ssl.h>
#include <sys/queue.h>

#include "lib/http.h"
#include "lib/http_head.h"
#include "lib/tls.h"

enum conn_state {
    CONN_HANDSHAKE,
    CONN_IDLE,
    CONN_HEAD,
    CONN_BODY,
    CONN_BUSY,
    CONN_WRITE,
    CONN_LINGER,
    CONN_STATES
};

enum {
    HTTP_SLACK_BYTES = 17 * 1024,        /* one TLS record beyond what is expected */
    HTTP_SMALL_READ_BYTES = 4000,        /* a typical request in one small evbuffer chain */
    HTTP_LARGE_READ_BYTES = 16 * 1024,   /* while a large body comes */
    HTTP_ARENA_BYTES = 64 * 1024 * 1024, /* bound for one request's arena */
    HTTP_STREAM_LOW_BYTES = 64 * 1024,   /* a stream may go on below this */
    HTTP_PROGRESS_BYTES = 16 * 1024,     /* a reader that takes less within body_ms is ended */
    HTTP_LINGER_MS = 3000,               /* for the refusal and the close */
    HTTP_LINGER_BYTES = 1024 * 1024,     /* read and thrown away after a refusal */
    HTTP_MAX_EXTRA = 16,                 /* headers that a handler sets */
    HTTP_TICK_MS = 100
};

TAILQ_HEAD(conn_list, http_conn);

struct http_server {
    struct event_base *base;
    struct http_listener *listeners;
    struct http_conn **by_fd; /* how a connection is found from evhttp's request */
    size_t fds;
    _Atomic size_t connections; /* read from any thread */
    struct event tick;
    int64_t date_s; /* what `date` says */
    char date[32];
};

struct http_listener {
    struct http_listener *next;
    struct http_server *server;
    struct http_listener_options o;
    char name[24];
    char address[64];
    int port;
    size_t max_body; /* the largest of its routes */
    struct evhttp *evhttp;
    struct evconnlistener *socket; /* evhttp's */
    bool closing;
    size_t connections;
    struct conn_list list[CONN_STATES];
};

struct http_conn {
    TAILQ_ENTRY(http_conn) link;
    enum conn_state state;
    int64_t deadline_ms; /* monotonic */
    int64_t opened_ms;
    struct http_listener *listener;
    struct bufferevent *bev; /* evhttp's */
    SSL *ssl;                /* the bufferevent's; NULL when plain */
    evutil_socket_t fd;
    struct evhttp_connection *evcon; /* NULL until attached */
    bufferevent_data_cb evhttp_read, evhttp_write;
    bufferevent_event_cb evhttp_event;
    struct evbuffer_cb_entry *input_cb;
    struct event later; /* attach after accept; resume with pipelined input */
    struct evhttp_request *evreq;
    struct http_request *rq;
    size_t scanned; /* of the head that is coming */
    uint64_t raw;   /* bytes since the head, for chunked bodies and lingering */
    uint64_t raw_max;
    uint64_t added;      /* to the output, by answers */
    uint64_t taken_seen; /* how much of it was gone when the deadline was set */
    bool surplus;        /* above the cap: ended at once */
    bool close;          /* after the answer */
    bool has_peer;
    const char *reason; /* why it ends, for the metric */
    char address[46];
    struct tls_peer peer;
};

struct http_request { /* in its own arena */
    struct arena *arena;
    struct http_conn *conn;       /* NULL: the client went away, or not handed out yet */
    struct evhttp_request *evreq; /* ours to free by answering, once handed out */
    struct event_base *base;
    void *arg;
    void *context;
    int64_t started_us;
    bool tls;
    bool streaming;
    bool chunked; /* the stream's coding */
    void (*writable)(struct http_request *rq, void *arg);
    void *writable_arg;
    struct event gone; /* tells a stream's producer that nobody listens any more */
    size_t body_limit;
    const struct tls_peer *peer;
    const char *address;
    struct http_field extra[HTTP_MAX_EXTRA];
    size_t extras;
    struct route_match match;
    struct http_head head;
};

/* http_conn.c */
struct bufferevent *conn_new(struct http_listener *l);
void conn_attach(struct http_conn *c);
void conn_end(struct http_conn *c, const char *reason); /* c is gone afterwards */
void conn_tick(struct http_listener *l, int64_t now_ms);
void conn_presented(struct evhttp_request *evreq, void *listener); /* evhttp's callback */
/* Whether the connection ends with the answer that is about to be written. */
bool conn_closes(struct http_conn *c);
/* The answer is in the output (wholly, or a part of a stream; `added` bytes): sends it. */
void conn_send(struct http_conn *c, size_t added);

/* http_reply.c */
void request_free(struct http_request *rq);
/* The head of an answer and a problem document, for refusals before there is a request. */
void refusal_write(struct http_server *s, struct evbuffer *out, enum vrs_err e, bool tls);

/* http.c */
const char *server_date(struct http_server *s);

#endif
