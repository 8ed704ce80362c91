#include "vrs-server/routes.h"

#include <string.h>

#include "vrs-server/accounts/login.h"
#include "vrs-server/handlers.h"
#include "vrs-server/log/checkpoint.h"
#include "vrs-server/request.h"
#include "vrs-server/session.h"

enum { PART_MAX_BYTES = 8 << 20 };

// clang-format off
const struct route lgwan_routes[] = {
    {ROUTE_POST, "/v1/sessions", NULL, ROUTE_NO_LOGIN, 4096, session_login, "Log in"},
    {ROUTE_DELETE, "/v1/sessions/current", NULL, 0, 0, session_logout, "Log out"},
    {ROUTE_POST, "/v1/sessions/current:change-password", NULL, 0, 8192, session_change_password, "Change the own password"},
    {ROUTE_POST, "/v1/sessions/current:enrol-totp", NULL, 0, 4096, session_enrol_totp, "A secret for one-time codes"},
    {ROUTE_POST, "/v1/applications", "staff.manage", ROUTE_IDEMPOTENT, 16384, applications_file, "Apply for an account, an extension, other rights"},
    {ROUTE_GET, "/v1/applications", "staff.manage|user.approve", 0, 0, applications_list, "Applications"},
    {ROUTE_POST, "/v1/applications/{id}:approve", "user.approve", 0, 4096, applications_approve, "Approve an application"},
    {ROUTE_POST, "/v1/applications/{id}:refuse", "user.approve", 0, 4096, applications_refuse, "Refuse an application"},
    {ROUTE_GET, "/v1/users", "staff.manage|user.approve", 0, 0, users_list, "Accounts, rights, last use, reviews"},
    {ROUTE_POST, "/v1/users:leavers", "staff.manage", 0, 1 << 20, users_leavers, "Leavers of the personnel system (CSV)"},
    {ROUTE_POST, "/v1/users/{id}:review", "user.approve", 0, 1024, users_review, "Yearly review of an account"},
    {ROUTE_POST, "/v1/users/{id}:disable", "staff.manage", 0, 4096, users_disable, "End an account"},
    {ROUTE_POST, "/v1/users/{id}:change-section", "staff.manage", 0, 4096, users_change_section, "Another section: rights end at once"},
    {ROUTE_POST, "/v1/users/{id}:clear-throttle", "staff.manage", 0, 1024, users_clear_throttle, "Let a locked-out account try again"},
    {ROUTE_GET, "/v1/statistics", "statistics", 0, 0, statistics_get, "Counts of doses"},
    {ROUTE_GET, "/v1/settings", "setting.manage", 0, 0, settings_get, "Settings of the municipality"},
    {ROUTE_PUT, "/v1/settings", "setting.manage", ROUTE_IF_MATCH, 8192, settings_put, "Change settings"},
    {ROUTE_GET, "/v1/vaccines", NULL, ROUTE_NO_LOGIN, 0, vaccines_get, "Products, intervals, ages, codes"},

    {ROUTE_POST, "/v1/residents:search", "resident.read", ROUTE_SYSTEM_CLIENT, 8192, residents_search, "Find residents"},
    {ROUTE_GET, "/v1/residents/{id}", "resident.read", ROUTE_SYSTEM_CLIENT, 0, residents_get, "One resident"},
    {ROUTE_PATCH, "/v1/residents/{id}", "resident.register", ROUTE_IF_MATCH, 16384, residents_patch, "Change a resident"},
    {ROUTE_DELETE, "/v1/residents/{id}", "erase", ROUTE_IF_MATCH, 8192, residents_erase, "Erase an own resident; needs an approval"},
    {ROUTE_POST, "/v1/residents/{id}:flag", "resident.register", ROUTE_IDEMPOTENT | ROUTE_IF_MATCH, 8192, residents_flag, "Set or clear a flag"},
    {ROUTE_POST, "/v1/residents/{id}:reveal-number", "number.reveal", ROUTE_NUMBER, 8192, residents_reveal_number, "Show the 個人番号 (logged first)"},
    {ROUTE_GET, "/v1/residents/{id}/doses", "dose.read", ROUTE_SYSTEM_CLIENT, 0, doses_of_resident, "Doses of a resident"},
    {ROUTE_GET, "/v1/residents/{id}/access-log", "log.read", 0, 0, access_log_resident, "Who looked at a resident"},

    {ROUTE_PUT, "/v1/doses/{id}", "dose.correct", ROUTE_IF_MATCH, 16384, doses_correct, "Correct a dose"},
    {ROUTE_POST, "/v1/doses/{id}:cancel", "dose.correct", ROUTE_IDEMPOTENT | ROUTE_IF_MATCH, 8192, doses_cancel, "Cancel a dose"},
    {ROUTE_POST, "/v1/doses/{id}:move", "dose.correct", ROUTE_IDEMPOTENT | ROUTE_IF_MATCH, 8192, doses_move, "Move a dose to another person"},
    {ROUTE_POST, "/v1/doses:mend", "dose.correct", 0, 16384, doses_mend, "Mend what a terminal or a lot brought in a span of time"},
    {ROUTE_GET, "/v1/doses/{id}/history", "dose.read", 0, 0, doses_history, "Versions of a dose"},
    {ROUTE_GET, "/v1/reviews", "dose.read", 0, 0, reviews_list, "Work list: claims, reviews, waiting coupons"},
    {ROUTE_POST, "/v1/reviews/{id}:settle", "dose.correct", ROUTE_IDEMPOTENT, 8192, reviews_settle, "Settle a review"},

    {ROUTE_POST, "/v1/imports", "resident.register", 0, 8192, imports_create, "Announce an import"},
    {ROUTE_GET, "/v1/imports", "resident.register", 0, 0, imports_list, "The ledger of imports"},
    {ROUTE_PUT, "/v1/imports/{id}/content", "resident.register", 0, PART_MAX_BYTES, imports_content, "Send a part of the file"},
    {ROUTE_POST, "/v1/imports/{id}:check", "resident.register", 0, 1024, imports_check, "Dry run"},
    {ROUTE_POST, "/v1/imports/{id}:commit", "resident.register", 0, 1024, imports_commit, "Commit"},
    {ROUTE_POST, "/v1/imports/{id}:confirm-deletion", "resident.register", 0, 4096, imports_confirm_deletion, "The medium's data is deleted"},
    {ROUTE_POST, "/v1/imports/{id}:discard", "resident.register", 0, 1024, imports_discard, "Throw an uncommitted file away"},
    {ROUTE_GET, "/v1/imports/{id}", "resident.register", 0, 0, imports_get, "State and progress"},
    {ROUTE_GET, "/v1/imports/{id}/results", "resident.register", 0, 0, imports_results, "Per-row results"},

    {ROUTE_POST, "/v1/inquiries", "inquire", ROUTE_IDEMPOTENT | ROUTE_NUMBER | ROUTE_CROSS, 8192, inquiries_ask, "Ask another municipality"},
    {ROUTE_GET, "/v1/inquiries/{id}", "inquire", 0, 0, inquiries_get, "Result of an inquiry"},
    {ROUTE_POST, "/v1/inquiries/{id}:take-over", "inquire", ROUTE_IDEMPOTENT, 8192, inquiries_take_over, "Take the doses into the own record"},
    {ROUTE_GET, "/v1/held-inquiries", "inquiry.approve", 0, 0, held_list_get, "Inquiries that wait for approval"},
    {ROUTE_POST, "/v1/held-inquiries/{id}:approve", "inquiry.approve", ROUTE_IDEMPOTENT | ROUTE_CROSS, 8192, held_approve, "Approve an answer"},
    {ROUTE_POST, "/v1/held-inquiries/{id}:refuse", "inquiry.approve", ROUTE_IDEMPOTENT | ROUTE_CROSS, 8192, held_refuse, "Refuse an answer"},
    {ROUTE_GET, "/v1/provisions", "provision.read", 0, 0, provisions_list, "情報提供等の記録"},
    {ROUTE_GET, "/v1/access-log/checkpoints", "log.proof", 0, 0, checkpoints_list, "Signed heads of the own log"},
    {ROUTE_GET, "/v1/access-log/export", "log.proof|log.read", 0, 0, access_log_export, "Access log for outsiders: hashes, proofs, signed head"},
    {ROUTE_GET, "/v1/access-log", "log.read", 0, 0, access_log_list, "Access log"},

    {ROUTE_GET, "/v1/log-reports", "log.review", 0, 0, log_reports_get, "Irregular use in the access log"},
    {ROUTE_GET, "/v1/operation-report", "log.review", 0, 0, operation_report_get, "What the service did in a month"},
    {ROUTE_POST, "/v1/log-reviews", "log.review", ROUTE_IDEMPOTENT, 8192, log_reviews_make, "Record a review of the access log"},
    {ROUTE_GET, "/v1/log-reviews", "log.review", 0, 0, log_reviews_list, "Reviews, and when the next is due"},

    {ROUTE_POST, "/v1/certificates:lookup", "certificate", ROUTE_NUMBER | ROUTE_SYSTEM_CLIENT, 8192, certificates_lookup, "What a certificate may show"},
    {ROUTE_POST, "/v1/terminals:enrol-code", "terminal.manage", 0, 4096, terminals_enrol_code, "A one-time code for a new terminal"},
    {ROUTE_GET, "/v1/terminals", "terminal.manage", 0, 0, terminals_list, "Terminals of the own municipality"},
    {ROUTE_POST, "/v1/terminals/{id}:revoke", "terminal.manage", 0, 4096, terminals_revoke, "Stop a terminal, at once"},
    {ROUTE_GET, "/v1/exports/ledger.csv", "export", 0, 0, exports_ledger, "予防接種台帳向け出力"},
    {ROUTE_GET, "/v1/exports/waiting.csv", "export", 0, 0, exports_waiting, "接種対象者登録待ちリスト"},
    {ROUTE_GET, "/v1/exports/reconciliation.csv", "export", 0, 0, exports_reconciliation, "Hash list to compare with the own register"},
    {ROUTE_GET, "/v1/requests", "erase|erase.approve|export|export.approve", 0, 0, requests_list, "What waits for a second person"},
    {ROUTE_POST, "/v1/requests", "erase|export", ROUTE_IDEMPOTENT, 8192, requests_ask, "Ask for a second person's approval"},
    {ROUTE_POST, "/v1/requests/{id}:approve", "erase.approve|export.approve", ROUTE_IDEMPOTENT, 8192, requests_approve, "Approve a request"},
    {ROUTE_POST, "/v1/requests/{id}:refuse", "erase.approve|export.approve", ROUTE_IDEMPOTENT, 8192, requests_refuse, "Refuse a request"},
    {ROUTE_GET, "/v1/retention", "erase|erase.approve", 0, 0, retention_list, "Residents whose records have been kept long enough"},
    {ROUTE_GET, "/v1/erasures", "erase|erase.approve", 0, 0, erasures_list, "Records of erasures"},
    {ROUTE_GET, "/v1/erasures/{id}/certificate", "erase|erase.approve", 0, 0, erasures_certificate, "消去証明書, signed"},
    {0},
};
// clang-format on

void vaccines_get(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    if (!buffer_puts(&in->answer, vaccine_list_json(in->server->vaccines)))
        inside_answer(in, ERR_MEMORY);
    else
        inside_answer(in, VRS_OK);
}
