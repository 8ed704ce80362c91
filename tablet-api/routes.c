/* The three route tables.  What is not here does not exist: no route of the inside, no health page,
 * no directory on the public listener. */
#include <string.h>

#include "lib/http.h"
#include "ocr-ingest/vaccine.h"
#include "tablet-api/app.h"
#include "tablet-api/checkpoints.h"
#include "tablet-api/coupon_filter.h"
#include "tablet-api/coupon_query.h"
#include "tablet-api/dose.h"
#include "tablet-api/enrolment.h"
#include "tablet-api/line.h"
#include "tablet-api/line_in.h"
#include "tablet-api/log_proof.h"
#include "tablet-api/login.h"
#include "tablet-api/published.h"
#include "tablet-api/tablet.h"

void vaccines_get(struct http_request *rq) {
    const struct tablet *t = http_arg(rq);
    const char *json = vaccine_list_json(t->vaccines);
    http_reply_json(rq, 200, json, strlen(json));
}

const struct route terminal_routes[] = {
    {ROUTE_POST, "/v1/sessions", NULL, ROUTE_NO_LOGIN, 4096, session_post, "Log in"},
    {ROUTE_DELETE, "/v1/sessions/current", NULL, 0, 1024, session_delete, "Log out"},
    {ROUTE_POST, "/v1/doses", "dose.post", ROUTE_IDEMPOTENT | ROUTE_SYSTEM_CLIENT, DOSE_MAX_BODY,
     dose_post, "Post one reading"},
    {ROUTE_POST, "/v1/doses:batch", "dose.post", ROUTE_SYSTEM_CLIENT, DOSE_BATCH_BYTES, dose_batch,
     "Post many readings, each with its own key"},
    {ROUTE_POST, "/v1/doses:relay", "dose.post", ROUTE_SYSTEM_CLIENT, DOSE_MAX_BODY, dose_relay,
     "A reading that its terminal sealed while it waited"},
    {ROUTE_GET, "/v1/doses/{receipt_id}", "receipt.read", ROUTE_SYSTEM_CLIENT, 1024, dose_get,
     "The outcome of a receipt now"},
    {ROUTE_POST, "/v1/doses/{receipt_id}:cancel", "dose.cancel",
     ROUTE_IDEMPOTENT | ROUTE_SYSTEM_CLIENT, 8192, dose_cancel, "Cancel a reading of today"},
    {ROUTE_POST, "/v1/coupons:check", "coupon.check", ROUTE_SYSTEM_CLIENT, 4096, coupon_check,
     "What the inside knows about a coupon"},
    {ROUTE_POST, "/v1/coupons:pre-shot", "coupon.check", ROUTE_SYSTEM_CLIENT, 4096, coupon_pre_shot,
     "Doses so far, and the earliest day of the next"},
    {ROUTE_GET, "/v1/coupon-filter/{digits}", "coupon.check", 0, 1024, coupon_filter_get,
     "The signed filter of issued coupon numbers, for work without network"},
    {ROUTE_POST, "/v1/terminals/current:renew", NULL, ROUTE_NO_LOGIN, ENROLMENT_MAX_BODY,
     enrolment_renew, "A new certificate for this terminal"},
    {ROUTE_GET, "/v1/vaccines", NULL, ROUTE_NO_LOGIN, 1024, vaccines_get, "Vaccine products"},
    {ROUTE_GET, "/v1/app-state", NULL, ROUTE_NO_LOGIN, 1024, app_state_get,
     "What the tablet app starts from"},
    {ROUTE_GET, "/", NULL, ROUTE_NO_LOGIN, 1024, app_index_get, "The tablet app"},
    {ROUTE_GET, "/app/{file}", NULL, ROUTE_NO_LOGIN, 1024, app_file_get,
     "A file of the tablet app"},
    {0},
};

const struct route public_routes[] = {
    {ROUTE_POST, "/v1/enrolments", NULL, ROUTE_NO_LOGIN, ENROLMENT_MAX_BODY, enrolment_post,
     "A first certificate for a device with a one-time code"},
    {ROUTE_GET, "/v1/vaccines", NULL, ROUTE_NO_LOGIN, 1024, vaccines_get, "Vaccine products"},
    {ROUTE_GET, "/v1/log/keys", NULL, ROUTE_NO_LOGIN, 1024, log_keys_get,
     "Public keys of the access log's signer"},
    {ROUTE_GET, "/v1/log/checkpoints/{municipality}", NULL, ROUTE_NO_LOGIN, 1024, checkpoints_get,
     "Signed heads of a municipality's access log"},
    {0},
};

const struct route line_routes[] = {
    {ROUTE_POST, "/line/v1/pull", NULL, ROUTE_NO_LOGIN, 4096, line_pull,
     "Entries without outcome, and coupon queries"},
    {ROUTE_POST, "/line/v1/outcomes", NULL, ROUTE_NO_LOGIN, LINE_MAX_BODY, line_outcomes,
     "Outcomes of entries"},
    {ROUTE_POST, "/line/v1/answers", NULL, ROUTE_NO_LOGIN, LINE_MAX_BODY, line_answers,
     "Answers to queries"},
    {ROUTE_POST, "/line/v1/checkpoints", NULL, ROUTE_NO_LOGIN, LINE_MAX_BODY, line_checkpoints,
     "Signed heads of the log, to be kept here"},
    {ROUTE_PUT, "/line/v1/snapshot", NULL, ROUTE_NO_LOGIN, 2 * (size_t)PUBLISHED_MAX_BYTES,
     line_snapshot, "The signed snapshot"},
    {ROUTE_POST, "/line/v1/replay", NULL, ROUTE_NO_LOGIN, 4096, line_replay,
     "Entries of one municipality again"},
    {0},
};
