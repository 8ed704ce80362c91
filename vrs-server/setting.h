/* Settings of a municipality: kept in its own partition (TABLE_SETTING), changed by its own people
 * with the right setting.manage, each change in the log with before and after.  What is not set has
 * the default of the one list below; an unknown name is refused. */
#ifndef VRS_SERVER_SETTING_H
#define VRS_SERVER_SETTING_H

#include "partitions/partition.h"

/* X(symbol, name, default, lowest, highest, Japanese label).  Booleans are 0 and 1. */
#define SETTINGS(X)                                                                                \
    X(SETTING_PASSWORD_MAX_AGE_DAYS, "password_max_age_days", 0, 0, 3650,                          \
      "パスワードの有効日数（0 = 期限なし）")                                                      \
    X(SETTING_TOTP_FOR_NUMBER, "totp_for_number", 0, 0, 1,                                         \
      "個人番号の操作にワンタイムコードを求める")                                                  \
    X(SETTING_SESSIONS_PER_USER, "sessions_per_user", 1, 1, 5,                                     \
      "一つのIDで同時に使えるセッション数")                                                        \
    X(SETTING_PURPOSE_TRANSFER, "purpose_transfer_in", 1, 0, 1, "転入照会を使う")                  \
    X(SETTING_PURPOSE_ANSWER, "purpose_transfer_out_answer", 1, 0, 1, "転出者の照会に回答する")    \
    X(SETTING_PURPOSE_CERTIFICATE, "purpose_certificate", 1, 0, 1, "証明書交付を使う")             \
    X(SETTING_RETENTION_YEARS, "retention_years", 0, 0, 100,                                       \
      "死亡・転出から記録を保存する年数（0 = 自動では消去しない。1〜4は指定できない）")            \
    X(SETTING_RETENTION_AUTOMATIC, "retention_automatic", 0, 0, 1,                                 \
      "保存期限を過ぎた記録を自動で消去する（0 = 一覧に出すだけ）")                                \
    X(SETTING_EXPORT_APPROVAL, "export_approval", 0, 0, 1, "一括出力に承認を求める")               \
    X(SETTING_OFF_HOURS_FROM, "off_hours_from", 20, 0, 24, "時間外の始まり（時）")                 \
    X(SETTING_OFF_HOURS_TO, "off_hours_to", 7, 0, 24, "時間外の終わり（時）")                      \
    X(SETTING_LOG_REVIEW_DAYS, "log_review_days", 31, 1, 92, "操作記録の点検の間隔（日）")         \
    X(SETTING_COUPON_FILTER, "coupon_filter", 0, 0, 1,                                             \
      "通信できない端末のために、発行済み接種券番号の一覧を会場の端末に渡す")

enum setting {
#define X(sym, name, def, low, high, label) sym,
    SETTINGS(X)
#undef X
        SETTING_COUNT
};

const char *setting_name(enum setting s);
const char *setting_label(enum setting s); /* Japanese */
void setting_bounds(enum setting s, int64_t *standard, int64_t *lowest, int64_t *highest);
bool setting_by_name(const char *name, enum setting *out);
/* Inside the partition's transaction. */
VRS_CHECK enum vrs_err setting_get(struct partition *p, enum setting s, int64_t *out);
/* ERR_BAD_FIELD outside its bounds. */
VRS_CHECK enum vrs_err setting_put(struct partition *p, enum setting s, int64_t value);
/* Of all settings together: their ETag.  Grows with every change, starts at 1. */
VRS_CHECK enum vrs_err settings_version(struct partition *p, uint64_t *out);

#endif
