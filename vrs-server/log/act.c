#include "vrs-server/log/act.h"

#include <stddef.h>
#include <string.h>

#include "lib/err.h"

// clang-format off
static const struct {
    const char *act;
    enum act_kind kind;
    const char *name;
} acts[] = {
    {"session.open", ACT_REQUEST, "ログイン"},
    {"session.close", ACT_REQUEST, "ログアウト"},
    {"session.timeout", ACT_SYSTEM, "時間切れによるログアウト"},
    {"session.change_password", ACT_REQUEST, "自分のパスワードの変更"},
    {"session.enrol_totp", ACT_REQUEST, "ワンタイムコードの登録"},
    {"setting.read", ACT_REQUEST, "自治体の設定の表示"},
    {"setting.change", ACT_REQUEST, "自治体の設定の変更"},
    {"application.file", ACT_REQUEST, "利用の申請"},
    {"application.list", ACT_REQUEST, "利用の申請の一覧"},
    {"application.approve", ACT_REQUEST, "利用の申請の承認"},
    {"application.refuse", ACT_REQUEST, "利用の申請の却下"},
    {"user.review", ACT_REQUEST, "利用者の年次点検"},
    {"user.leavers", ACT_REQUEST, "異動・退職者の取込み"},
    {"user.clear_throttle", ACT_REQUEST, "ログイン制限の解除"},
    {"log.purge", ACT_SYSTEM, "保存期間を過ぎた操作記録の消去"},
    {"request.refused", ACT_REQUEST, "操作の拒否"},
    {"request.refused_many", ACT_SYSTEM, "操作の拒否（まとめて記録）"},
    {"resident.search", ACT_REQUEST, "住民の検索"},
    {"resident.read", ACT_REQUEST, "住民情報の表示"},
    {"resident.change", ACT_REQUEST, "住民情報の変更"},
    {"resident.flag", ACT_REQUEST, "転出・死亡などの設定"},
    {"resident.erase", ACT_REQUEST, "住民情報の消去"},
    {"erasure.list", ACT_REQUEST, "消去の記録の一覧"},
    {"erasure.certificate", ACT_REQUEST, "消去証明書の発行"},
    {"erasure.again", ACT_SYSTEM, "復元後の消去の再適用"},
    {"retention.list", ACT_REQUEST, "保存期限を過ぎた記録の一覧"},
    {"retention.erase", ACT_SYSTEM, "保存期限による自動消去"},
    {"request.list", ACT_REQUEST, "承認待ちの申請の一覧"},
    {"request.ask", ACT_REQUEST, "承認の申請"},
    {"request.approve", ACT_REQUEST, "申請の承認"},
    {"request.refuse", ACT_REQUEST, "申請の却下"},
    {"export.reconciliation", ACT_REQUEST, "原本照合用の出力"},
    {"number.reveal", ACT_REQUEST, "個人番号の表示"},
    {"dose.list", ACT_REQUEST, "接種記録の表示"},
    {"dose.history", ACT_REQUEST, "接種記録の変更履歴の表示"},
    {"dose.correct", ACT_REQUEST, "接種記録の訂正"},
    {"dose.cancel", ACT_REQUEST, "接種記録の取消"},
    {"dose.mend_preview", ACT_REQUEST, "接種記録の一括訂正の確認"},
    {"dose.mend", ACT_REQUEST, "接種記録の一括訂正"},
    {"dose.move", ACT_REQUEST, "接種記録の付け替え"},
    {"dose.record", ACT_OUTSIDE, "接種の記録"},
    {"dose.take_over", ACT_FOLLOWS, "照会結果の接種記録への取込み"},
    {"coupon.check", ACT_OUTSIDE, "接種券の確認"},
    {"coupon.doctor", ACT_OUTSIDE, "読み誤った接種券の候補の表示"},
    {"coupon.filter", ACT_OUTSIDE, "発行済み接種券番号の一覧の受渡し"},
    {"coupon.pre_shot", ACT_OUTSIDE, "接種前の接種回数の確認"},
    {"review.list", ACT_REQUEST, "確認一覧の表示"},
    {"review.settle", ACT_REQUEST, "確認が必要な記録の解決"},
    {"import.create", ACT_REQUEST, "取込みファイルの届出"},
    {"import.content", ACT_REQUEST, "取込みファイルの送信"},
    {"import.check", ACT_REQUEST, "取込みの確認の開始"},
    {"import.commit", ACT_REQUEST, "取込みの確定の開始"},
    {"import.check_rows", ACT_FOLLOWS, "取込みファイルの行の確認"},
    {"import.commit_rows", ACT_FOLLOWS, "取込みファイルの行の登録"},
    {"import.list", ACT_REQUEST, "取込み台帳の表示"},
    {"import.read", ACT_REQUEST, "取込みの状況の表示"},
    {"import.results", ACT_REQUEST, "取込みの結果の表示"},
    {"import.confirm_deletion", ACT_REQUEST, "取込み媒体のデータ消去の確認"},
    {"import.discard", ACT_REQUEST, "取込みの破棄"},
    {"import.sweep", ACT_SYSTEM, "確定されなかった取込みデータの消去"},
    {"inquiry.ask", ACT_REQUEST, "他の市区町村への照会"},
    {"inquiry.result", ACT_FOLLOWS, "照会の結果の受領"},
    {"inquiry.read", ACT_REQUEST, "照会結果の表示"},
    {"inquiry.take_over", ACT_REQUEST, "照会結果の取込み"},
    {"inquiry.answer", ACT_FOLLOWS, "他の市区町村への回答"},
    {"inquiry.hold", ACT_FOLLOWS, "他の市区町村への回答の保留"},
    {"inquiry.held_list", ACT_REQUEST, "保留中の照会の表示"},
    {"inquiry.approve", ACT_REQUEST, "保留中の照会への回答の承認"},
    {"inquiry.refuse", ACT_REQUEST, "保留中の照会への回答の拒否"},
    {"provision.list", ACT_REQUEST, "情報提供等の記録の表示"},
    {"certificate.lookup", ACT_REQUEST, "接種証明書のための確認"},
    {"statistics.read", ACT_REQUEST, "統計の表示"},
    {"export.ledger", ACT_REQUEST, "予防接種台帳向けの一括出力"},
    {"export.waiting", ACT_REQUEST, "登録待ち一覧の出力"},
    {"log.read", ACT_REQUEST, "操作記録の閲覧"},
    {"log.read_person", ACT_REQUEST, "本人に示す操作記録の閲覧"},
    {"log.export", ACT_REQUEST, "操作記録の書き出し（検証用）"},
    {"log.review", ACT_REQUEST, "操作記録の点検"},
    {"log.review_list", ACT_REQUEST, "操作記録の点検の一覧"},
    {"operation.report", ACT_REQUEST, "運用報告の表示"},
    {"log.report", ACT_REQUEST, "操作記録の分析"},
    {"log.checkpoints", ACT_REQUEST, "署名された記録の先頭の表示"},
    {"log.epoch", ACT_CONTROL, "復元後の記録の再開"},
    {"terminals.enrol_code", ACT_REQUEST, "端末の登録コードの発行"},
    {"terminals.list", ACT_REQUEST, "端末の一覧の表示"},
    {"terminals.revoke", ACT_REQUEST, "端末の停止"},
    /* the Internet side */
    {"session.opened", ACT_OUTSIDE, "接種会場の端末でのログイン"},
    {"session.opened_elsewhere", ACT_OUTSIDE, "同じIDの別端末でのログイン"},
    {"session.closed", ACT_OUTSIDE, "接種会場の端末でのログアウト"},
    {"session.timed_out", ACT_OUTSIDE, "接種会場の端末での時間切れ"},
    {"session.refused", ACT_REFUSED, "接種会場の端末でのログインの失敗"},
    {"session.throttled", ACT_REFUSED, "ログインの回数制限"},
    {"session.malformed", ACT_REFUSED, "ログイン要求の形式の誤り"},
    {"session.no_snapshot", ACT_REFUSED, "利用者情報が古いためのログイン拒否"},
    {"session.busy", ACT_REFUSED, "混雑によるログインの拒否"},
    {"session.missing", ACT_REFUSED, "ログインのない操作の拒否"},
    {"session.not_valid", ACT_REFUSED, "終了したセッションの操作の拒否"},
    {"system.refused", ACT_REFUSED, "登録のないシステムの拒否"},
    {"terminal.revoked_used", ACT_REFUSED, "停止した端末の使用"},
    {"terminal.unknown", ACT_REFUSED, "登録のない端末の使用"},
    {"session.other_terminal", ACT_REFUSED, "別の自治体・会場の端末でのログインの拒否"},
    {"enrolment.refused", ACT_REFUSED, "端末登録の回数制限"},
    {"terminal.enrol", ACT_OUTSIDE, "端末の証明書の発行"},
    {"terminal.renew", ACT_OUTSIDE, "端末の証明書の更新"},
    {"request.forbidden", ACT_REFUSED, "権限のない操作の拒否"},
    {"request.unknown", ACT_REFUSED, "存在しない操作の拒否"},
    {"tls.refused", ACT_REFUSED, "証明書の合わない接続の拒否"},
    {"http.malformed", ACT_REFUSED, "形式の誤った通信の拒否"},
    {"http.slow", ACT_REFUSED, "途中で止まった接続の切断"},
    {"http.crowded", ACT_REFUSED, "接続数の上限による切断"},
    {"disk.low", ACT_OUTSIDE, "インターネット側のディスク残量の不足"},
    {"disk.enough", ACT_OUTSIDE, "インターネット側のディスク残量の回復"},
    {"log.fork", ACT_OUTSIDE, "署名された記録の先頭の食い違い"},
    {"log.bad_proof", ACT_OUTSIDE, "受付証明の検証の失敗"},
    {"clock.jumped", ACT_OUTSIDE, "インターネット側の時計の飛び"},
    /* commands of the operator */
    {"control.refused", ACT_CONTROL, "実行できない運用コマンド"},
    {"user.apply", ACT_CONTROL, "利用者の申請"},
    {"user.approve", ACT_CONTROL, "利用者の承認"},
    {"user.disable", ACT_CONTROL, "利用者の停止"},
    {"user.list", ACT_CONTROL, "利用者の一覧"},
    {"user.applications", ACT_CONTROL, "利用者の申請の一覧"},
    {"terminal.enrol-code", ACT_CONTROL, "端末の登録コードの発行"},
    {"terminal.add", ACT_CONTROL, "端末の登録"},
    {"terminal.revoke", ACT_CONTROL, "端末の停止"},
    {"allow-list.load", ACT_CONTROL, "照会許可用照合リストの読込み"},
    {"terminal.list", ACT_CONTROL, "端末の一覧"},
    {"keys.status", ACT_CONTROL, "鍵の状態の表示"},
    {"keys.rotate", ACT_CONTROL, "鍵の更新の指示"},
    {"keys.rotated", ACT_SYSTEM, "鍵の更新"},
    {"keys.rewrap", ACT_SYSTEM, "鍵を包む鍵の更新"},
    {"keys.destroy", ACT_SYSTEM, "更新前の鍵の破棄"},
    {"selfcheck", ACT_CONTROL, "自己点検"},
    {"log.verify", ACT_CONTROL, "操作記録の検証"},
    {"verify-log", ACT_CONTROL, "操作記録の検証"},
    {"backup", ACT_CONTROL, "バックアップ"},
    {"restore", ACT_CONTROL, "復元"},
    {"migrate.key", ACT_CONTROL, "移行データの受取り用の鍵の表示"},
    {"migrate.export", ACT_CONTROL, "移行データの書き出し"},
    {"migrate.import", ACT_CONTROL, "移行データの取り込み"},
    {"partition.destroy", ACT_CONTROL, "自治体の領域の鍵の破棄"},
};

struct word {
    const char *code, *name;
};

static const struct word purposes[] = {
    {"vaccination_record", "予防接種の事務"},
    {"transfer_in", "転入者の接種記録の照会"},
    {"transfer_out_answer", "転出者についての照会への回答"},
    {"certificate", "接種証明書の交付"},
    {"operation", "システムの運用"},
    {"internet_side", "接種会場での操作"},
    {"log_review", "操作記録の点検"},
    {NULL, NULL},
};

static const struct word results[] = {
    {"ok", "実行"},
    {"repeated", "同じ要求の再送（前と同じ回答）"},
    {"set", "設定"},
    {"cleared", "解除"},
    {"corrected", "訂正"},
    {"cancelled", "取消"},
    {"moved", "付け替え"},
    {"accepted", "承認"},
    {"rejected", "却下"},
    {"approved", "承認"},
    {"refused", "拒否"},
    {"erased", "消去"},
    {"sent", "照会を送信"},
    {"match", "該当あり"},
    {"no_match", "該当なし"},
    {"pending", "回答待ち"},
    {"held", "保留"},
    {"aborted", "中断"},
    {"expired", "期限切れにより削除"},
    {"recorded", "記録"},
    {"recorded_for_review", "確認待ちとして記録"},
    {"waiting_for_coupon", "接種券の登録待ちとして記録"},
    {"conflict", "食い違いとして記録"},
    {"duplicate", "同じ記録（登録済み）"},
    {"noted", "記録"},
    {"created", "届出済み"},
    {"receiving", "受信中"},
    {"received", "受信済み"},
    {"checking", "確認中"},
    {"checked", "確認済み"},
    {"committing", "登録"},
    {"committed", "登録済み"},
    {"removed", "消去"},
    {"begun", "開始"},
    {NULL, NULL},
};

static const struct word sources[] = {
    {"lgwan", "市区町村の端末"},
    {"internet", "接種会場の端末"},
    {"control", "運用コマンド"},
    {"system", "システム"},
    {NULL, NULL},
};
// clang-format on

static const char *word_name(const struct word *list, const char *code) {
    for (; list->code != NULL; list++) {
        if (strcmp(list->code, code) == 0)
            return list->name;
    }
    return NULL;
}

static size_t find(const char *act) {
    size_t i = 0;
    while (i < sizeof acts / sizeof *acts && strcmp(acts[i].act, act) != 0)
        i++;
    return i;
}

bool act_find(const char *act, enum act_kind *kind) {
    size_t i = find(act);
    if (i == sizeof acts / sizeof *acts)
        return false;
    *kind = acts[i].kind;
    return true;
}

const char *act_name(const char *act) {
    size_t i = find(act);
    return i < sizeof acts / sizeof *acts ? acts[i].name : act;
}

bool act_refuses(const char *act) {
    enum act_kind kind;
    return act_find(act, &kind) && kind == ACT_REFUSED;
}

const char *act_purpose_name(const char *purpose) {
    const char *name = word_name(purposes, purpose);
    return name != NULL ? name : purpose;
}

const char *act_result_name(const char *result) {
    const char *name = word_name(results, result);
    enum vrs_err e;
    if (name != NULL)
        return name;
    return err_by_name(result, &e) ? err_detail_ja(e) : result;
}

const char *act_source_name(const char *source) {
    const char *name = word_name(sources, source);
    return name != NULL ? name : source;
}
