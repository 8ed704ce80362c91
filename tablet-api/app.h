/* The tablet app, served from memory on the terminals listener: what the folder app_dir held when
 * the program started.  Only a terminal's certificate is asked for, so that the log-in page itself
 * can be shown.  Loop thread. */
#ifndef TABLET_API_APP_H
#define TABLET_API_APP_H

#include <stdbool.h>

#include "lib/err.h"

struct app;
struct http_request;

enum { APP_MAX_FILES = 64, APP_MAX_BYTES = 8 << 20 };

/* Reads the folder: plain files only; NAME.gz is NAME compressed.  Before the sandbox.  An empty
 * name is no app: its routes answer 404. */
VRS_CHECK enum vrs_err app_open(const char *dir, struct app **out, struct vrs_fault *fault);
void app_close(struct app **a);

void app_index_get(struct http_request *rq); /* GET / */
void app_file_get(struct http_request *rq);  /* GET /app/{file} */
/* GET /v1/app-state: the server's time, what readings are sealed to, whose terminal this is. */
void app_state_get(struct http_request *rq);

/* A browser that asks for a page is told in words that a person understands; false: it did not ask
 * for one, and nothing was answered. */
bool app_refuse(struct http_request *rq, enum vrs_err e);

#endif
