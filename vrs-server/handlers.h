/* The handlers that routes.c names; each stands in the file named above its group.  All run on the
 * loop, behind the gates (session.h), with their context from inside_of(). */
#ifndef VRS_SERVER_HANDLERS_H
#define VRS_SERVER_HANDLERS_H

#include "lib/err.h"

struct erased;
struct http_request;
struct partition;
struct server;

/* residents.c */
void residents_search(struct http_request *rq);
void residents_get(struct http_request *rq);
void residents_patch(struct http_request *rq);
void residents_flag(struct http_request *rq);
void residents_reveal_number(struct http_request *rq);
/* erasures.c */
void residents_erase(struct http_request *rq);
void erasures_list(struct http_request *rq);
void erasures_certificate(struct http_request *rq);
/* retention.c */
void retention_list(struct http_request *rq);
/* requests.c */
void requests_list(struct http_request *rq);
void requests_ask(struct http_request *rq);
void requests_approve(struct http_request *rq);
void requests_refuse(struct http_request *rq);
/* doses.c */
void doses_of_resident(struct http_request *rq);
void doses_correct(struct http_request *rq);
void doses_cancel(struct http_request *rq);
void doses_move(struct http_request *rq);
void doses_history(struct http_request *rq);
void doses_mend(struct http_request *rq); /* mend.c */
/* reviews.c */
void reviews_list(struct http_request *rq);
void reviews_settle(struct http_request *rq);
/* imports.c */
void imports_create(struct http_request *rq);
void imports_content(struct http_request *rq);
void imports_get(struct http_request *rq);
void imports_results(struct http_request *rq);
/* import_walk.c */
void imports_check(struct http_request *rq);
void imports_commit(struct http_request *rq);
/* import_ledger.c */
void imports_list(struct http_request *rq);
void imports_confirm_deletion(struct http_request *rq);
void imports_discard(struct http_request *rq);
/* Uploaded files that are not committed and hold an erased person go, parts and all.  ERR_CONFLICT:
 * one is being read now. */
VRS_CHECK enum vrs_err imports_erase(struct partition *p, struct erased *x);
/* inquiries.c */
void inquiries_ask(struct http_request *rq);
void inquiries_get(struct http_request *rq);
/* inquiry_take_over.c */
void inquiries_take_over(struct http_request *rq);
/* inquiry_sweep.c */
void inquiries_sweep(struct server *server); /* every minute: results whose time has come */
/* held.c */
void held_list_get(struct http_request *rq);
void held_approve(struct http_request *rq);
void held_refuse(struct http_request *rq);
/* records.c */
void provisions_list(struct http_request *rq);
/* log_list.c */
void access_log_list(struct http_request *rq);
void access_log_export(struct http_request *rq); /* log_export.c */
void access_log_resident(struct http_request *rq);
/* log_review.c */
void log_reviews_make(struct http_request *rq);
void log_reviews_list(struct http_request *rq);
void log_reviews_look(struct server *server); /* overdue ones: now and then */
/* log_reports.c */
void log_reports_get(struct http_request *rq);
void operation_report_get(struct http_request *rq);
/* certificates.c */
void certificates_lookup(struct http_request *rq);
/* exports.c */
void exports_ledger(struct http_request *rq);
void exports_waiting(struct http_request *rq);
void exports_reconciliation(struct http_request *rq);
/* terminals_api.c */
void terminals_enrol_code(struct http_request *rq);
void terminals_list(struct http_request *rq);
void terminals_revoke(struct http_request *rq);
/* applications.c, users.c: accounts of a municipality's people */
void applications_file(struct http_request *rq);
void applications_list(struct http_request *rq);
void applications_approve(struct http_request *rq);
void applications_refuse(struct http_request *rq);
void users_list(struct http_request *rq);
void users_review(struct http_request *rq);
void users_disable(struct http_request *rq);
void users_change_section(struct http_request *rq);
void users_clear_throttle(struct http_request *rq);
void users_leavers(struct http_request *rq);
/* statistics.c */
void statistics_get(struct http_request *rq);
/* settings_api.c */
void settings_get(struct http_request *rq);
void settings_put(struct http_request *rq);
/* routes.c */
void vaccines_get(struct http_request *rq);

#endif
