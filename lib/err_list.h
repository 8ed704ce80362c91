/* The list of errors: see err.h.  Keep groups together; the Japanese text says what to do. */
#ifndef VRS_LIB_ERR_LIST_H
#define VRS_LIB_ERR_LIST_H
// clang-format off
#define VRS_ERR_LIST(X) \
    X(VRS_OK, "ok", 200, false, "OK", "正常に処理されました。") \
    /* what is wrong with the request */ \
    X(ERR_BAD_REQUEST, "bad_request", 400, false, "Malformed request", "要求の形式が正しくありません。送信内容を確認してください。") \
    X(ERR_BAD_JSON, "bad_json", 400, false, "Body is not valid JSON", "本文がJSONとして読み取れません。形式を確認して送り直してください。") \
    X(ERR_TOO_DEEP, "json_too_deep", 400, false, "JSON is nested too deeply", "JSONの入れ子が深すぎます。構造を確認してください。") \
    X(ERR_UNKNOWN_FIELD, "unknown_field", 400, false, "Unknown field", "定義されていない項目があります。項目名を確認してください。") \
    X(ERR_MISSING_FIELD, "missing_field", 422, false, "Missing field", "必要な項目がありません。項目を入力してください。") \
    X(ERR_BAD_FIELD, "bad_field", 422, false, "Field has a wrong value", "項目の値が正しくありません。値を確認してください。") \
    X(ERR_TOO_LARGE, "too_large", 413, false, "Request too large", "送信内容が大きすぎます。分けて送信してください。") \
    X(ERR_NO_LENGTH, "length_required", 411, false, "Length required", "本文の長さが示されていません。") \
    X(ERR_BAD_MEDIA, "unsupported_media_type", 415, false, "Unsupported media type", "Content-Typeが対応していない形式です。") \
    X(ERR_NOT_FOUND, "not_found", 404, false, "Not found", "該当するものがありません。") \
    X(ERR_NO_METHOD, "method_not_allowed", 405, false, "Method not allowed", "この操作はできません。") \
    X(ERR_NO_IDEMPOTENCY_KEY, "idempotency_key_required", 400, false, "Idempotency-Key required", "Idempotency-Key（UUID）を付けて送信してください。") \
    X(ERR_KEY_REUSED, "idempotency_key_reused", 409, false, "Key was used with another body", "同じIdempotency-Keyが別の内容で使われています。新しいキーで送信してください。") \
    X(ERR_IN_PROGRESS, "request_in_progress", 409, true, "Same request is being processed", "同じ要求を処理中です。しばらく待ってから確認してください。") \
    X(ERR_PRECONDITION_REQUIRED, "if_match_required", 428, false, "If-Match required", "If-Matchに現在の版を付けて送信してください。") \
    X(ERR_STALE_VERSION, "stale_version", 412, false, "Someone changed it first", "ほかの人が先に変更しました。最新の内容を読み直してからやり直してください。") \
    X(ERR_CONFLICT, "conflict", 409, false, "Conflict with the present state", "現在の状態ではこの操作はできません。最新の状態を確認してください。") \
    X(ERR_NOT_ACCEPTABLE, "not_acceptable", 406, false, "Not acceptable", "要求された形式では返せません。") \
    /* who asks */ \
    X(ERR_LOGIN_REQUIRED, "login_required", 401, false, "Log-in required", "ログインしてください。") \
    X(ERR_SESSION_ENDED, "session_ended", 401, false, "Session has ended", "セッションが終了しました。もう一度ログインしてください。") \
    X(ERR_BAD_LOGIN, "bad_login", 401, false, "Wrong user ID or password", "ユーザーIDまたはパスワードが違います。") \
    X(ERR_FORBIDDEN, "forbidden", 403, false, "No right for this", "この操作の権限がありません。必要な場合は管理者に申請してください。") \
    X(ERR_OTHER_MUNICIPALITY, "other_municipality", 403, false, "Not your municipality", "この端末または利用者の自治体では操作できません。") \
    X(ERR_TERMINAL_REVOKED, "terminal_revoked", 403, false, "Terminal is revoked or its certificate expired", "この端末は利用を停止されています（または証明書の期限切れ）。管理者に連絡してください。") \
    X(ERR_APPROVAL_REQUIRED, "approval_required", 403, false, "A second person must approve", "この操作には承認が必要です。申請し、承認者の承認を受けてください。") \
    X(ERR_PASSWORD_OLD, "password_expired", 403, false, "Password is older than the setting allows", "パスワードの有効期限が過ぎています。パスワードを変更してください。") \
    X(ERR_PASSWORD_WEAK, "password_weak", 422, false, "Password is too short or known", "パスワードは12文字以上で、推測されやすいものは使えません。") \
    X(ERR_CODE_REQUIRED, "one_time_code_required", 403, false, "A one-time code is needed", "この操作にはワンタイムコードが必要です。コードを入力してログインし直してください。") \
    X(ERR_ENROLMENT, "enrolment_refused", 403, false, "The enrolment code is wrong, used or too old", "登録コードが正しくないか、使用済み・期限切れです。自治体の管理者に新しいコードを依頼してください。") \
    X(ERR_UNKNOWN_SYSTEM, "system_not_registered", 403, false, "System is not registered", "このシステムは登録されていません。管理者に登録を依頼してください。") \
    X(ERR_TOO_MANY, "too_many_requests", 429, true, "Too many requests", "操作が集中しています。しばらく待ってからやり直してください。") \
    /* what cannot be done now */ \
    X(ERR_STORAGE, "storage_unavailable", 503, true, "Nothing can be stored now", "現在保存できません。記録は保存されていません。しばらく待ってから同じ内容で送り直してください。") \
    X(ERR_UNKNOWN, "outcome_unknown", 503, true, "Outcome unknown, retry with the same key", "結果を確認できません。同じキーで送り直してください。") \
    X(ERR_LOG_UNWRITABLE, "log_unwritable", 503, true, "Access log cannot be written", "操作記録を保存できないため、処理を中止しました。管理者に連絡してください。") \
    X(ERR_INSIDE_AWAY, "inside_away", 503, true, "The inside does not answer", "内部システムから応答がありません。しばらく待ってからやり直してください。") \
    X(ERR_NUMBER_AWAY, "number_away", 503, true, "The number area does not answer", "個人番号領域から応答がありません。しばらく待ってからやり直してください。") \
    X(ERR_SIGNER_AWAY, "signer_away", 503, true, "The log signer does not answer", "署名の処理から応答がありません。しばらく待ってからやり直してください。") \
    X(ERR_BUSY, "busy", 503, true, "Too busy", "混み合っています。しばらく待ってからやり直してください。") \
    X(ERR_SNAPSHOT_OLD, "snapshot_too_old", 503, true, "Account snapshot too old", "利用者情報が古いため、ログインできません。内部システムとの接続を管理者に確認してください。") \
    X(ERR_TIMEOUT, "timeout", 504, true, "Deadline passed", "時間内に完了しませんでした。状態を確認してからやり直してください。") \
    X(ERR_INTERNAL, "internal", 500, true, "Internal error", "内部エラーが発生しました。管理者に連絡してください。") \
    X(ERR_MEMORY, "no_memory", 503, true, "Out of memory", "一時的に処理できません。しばらく待ってからやり直してください。") \
    X(ERR_CRYPTO, "crypto", 500, false, "Cryptographic failure", "暗号処理に失敗しました。管理者に連絡してください。") \
    X(ERR_TAMPERED, "tampered", 500, false, "Stored data failed authentication", "保存データの検証に失敗しました。管理者に連絡してください。") \
    X(ERR_CORRUPT, "corrupt", 500, false, "Stored data is malformed", "保存データが壊れています。管理者に連絡してください。") \
    X(ERR_CONFIG, "config", 500, false, "Configuration refused", "設定に誤りがあります。") \
    X(ERR_PROTOCOL, "protocol", 502, false, "Unexpected message from a peer", "相手システムからの応答が正しくありません。") \
    X(ERR_IO, "io", 500, true, "Input/output error", "読み書きに失敗しました。") \
    /* coupons and doses: posts and rows of imports */ \
    X(ERR_R101, "R101", 422, false, "Coupon number is not 10 digits", "券番号は数字10桁で入力してください。") \
    X(ERR_R102, "R102", 422, false, "Municipality check digit is wrong", "自治体コードの検査数字が合いません。券面の番号を読み直してください。") \
    X(ERR_R103, "R103", 422, false, "Coupon of another municipality", "他の自治体の接種券です。自治体コードを確認してください。") \
    X(ERR_R104, "R104", 422, false, "OCR line is not 18 digits", "OCRラインは数字18桁です。読み直すか、手入力してください。") \
    X(ERR_R105, "R105", 422, false, "No such municipality", "存在しない自治体コードです。券面の番号を確認してください。") \
    X(ERR_R106, "R106", 422, false, "Unknown kind of coupon", "券種は2（接種）または1（予診のみ）です。") \
    X(ERR_R107, "R107", 422, false, "Kind of coupon and status disagree", "券種と接種状況が一致しません。") \
    X(ERR_R110, "R110", 422, false, "Date form", "日付はYYYY-MM-DDまたはYYYYMMDDで入力してください。") \
    X(ERR_R111, "R111", 422, false, "No such day", "存在しない日付です。日付を確認してください。") \
    X(ERR_R112, "R112", 422, false, "Date in the future", "未来の日付は登録できません。端末の日付と接種日を確認してください。") \
    X(ERR_R113, "R113", 422, false, "Before birth", "生年月日より前の日付です。日付を確認してください。") \
    X(ERR_R120, "R120", 422, false, "Dose number is not 1 to 9", "接種回は1〜9で入力してください。") \
    X(ERR_R130, "R130", 422, false, "Lot is empty", "ロット番号を入力してください。") \
    X(ERR_R132, "R132", 422, false, "Unknown product", "ワクチンの製品コードが一覧にありません。製品を選び直してください。") \
    X(ERR_R140, "R140", 422, false, "Row id repeated in the file", "同じ行がファイル内で重複しています。") \
    X(ERR_R141, "R141", 422, false, "Same id with other content", "同じ番号が別の内容で登録されています。") \
    X(ERR_R150, "R150", 422, false, "Unknown action", "処理区分が正しくありません。") \
    X(ERR_R151, "R151", 422, false, "Target not found", "訂正または取消の対象が見つかりません。") \
    X(ERR_R160, "R160", 412, false, "Someone changed it first", "ほかの人が先に変更しました。最新の内容を確認してください。") \
    X(ERR_R170, "R170", 422, false, "Personal number check digit wrong", "個人番号の検査数字が合いません。番号を確認してください。") \
    X(ERR_R180, "R180", 422, false, "Field too long or has forbidden characters", "文字数が多すぎるか、使えない文字が含まれています。") \
    X(ERR_R181, "R181", 422, false, "Required field is empty", "必須項目が空です。入力してください。") \
    X(ERR_R182, "R182", 422, false, "Coupon belongs to another person", "この接種券番号は別の方に登録されています。券番号と宛名番号を確認してください。") \
    X(ERR_R183, "R183", 422, false, "Personal number belongs to another person", "この個人番号は別の宛名番号に登録されています。宛名番号を確認してください。") \
    X(ERR_SAME_COUPON, "same_coupon_again", 409, false, "Same coupon again within seconds", "同じ接種券が数秒前にこの端末で読み取られています。前の読み取りが残っていないか券面を確かめ、同じ券で間違いなければ確認のうえ送り直してください。") \
    X(ERR_PREVIEW_OLD, "preview_outdated", 409, false, "Not what the preview showed any more", "確認した後に対象の記録が変わりました。もう一度確認してからやり直してください。") \
    X(ERR_CANCEL_LATE, "cancel_not_allowed", 409, false, "Cannot be cancelled from here", "取消は同じ端末から当日中に限ります。自治体に訂正を依頼してください。") \
    /* import files */ \
    X(ERR_F001, "F001", 422, false, "File name against the rule", "ファイル名が規則に合いません。") \
    X(ERR_F003, "F003", 409, false, "Same name, other bytes", "同じ名前で内容の違うファイルが登録済みです。名前を変えてください。") \
    X(ERR_F004, "F004", 422, false, "No data rows", "データ行がありません。ファイルを確認してください。") \
    X(ERR_F005, "F005", 422, false, "Missing column", "必要な列がありません。見出し行を確認してください。") \
    X(ERR_F006, "F006", 422, false, "Wrong column order or name", "列名または列の順序が違います。見出し行を確認してください。") \
    X(ERR_F007, "F007", 422, false, "Encoding undecidable", "文字コードを判定できません。UTF-8またはCP932で保存し直してください。") \
    X(ERR_F008, "F008", 422, false, "Too many rows", "行数が多すぎます。ファイルを分けてください。") \
    X(ERR_F009, "F009", 403, false, "No right for this municipality", "この自治体のファイルを取り込む権限がありません。") \
    X(ERR_F011, "F011", 422, false, "The scanner found something in the file", "ウイルス検査で問題が見つかったため、取り込めません。端末と媒体を検査し、管理者に連絡してください。") \
    X(ERR_SCANNER_AWAY, "scanner_away", 503, true, "The virus scanner does not answer", "ウイルス検査が応答しないため、取り込めません。しばらく待ってからやり直し、続く場合は管理者に連絡してください。") \
    X(ERR_F010, "F010", 409, false, "Content is incomplete or its hash differs", "送信されたファイルの内容が申告と一致しません。もう一度送信してください。") \
    /* inquiries, numbers, certificates */ \
    X(ERR_BASIS_REFUSED, "basis_not_accepted", 422, false, "Legal basis not accepted by the policy in force", "この根拠では照会できません。現在有効な根拠区分を確認してください。") \
    X(ERR_IDENTITY_MISSING, "identity_not_checked", 422, false, "Identity was not checked", "本人確認の方法と確認日を入力してください。") \
    X(ERR_PURPOSE, "purpose_not_allowed", 422, false, "Purpose is not on the closed list", "利用目的が正しくありません。目的を選び直してください。") \
    X(ERR_NOT_ON_ALLOW_LIST, "not_on_allow_list", 403, false, "Not on the allow-list", "照会許可用照合リストにない照会です。") \
    X(ERR_PERMIT, "permit_refused", 403, false, "The permit is missing, used or too old", "情報提供許可証がないか、使用済み・期限切れです。新しい照会としてやり直してください。") \
    X(ERR_OWN_MUNICIPALITY, "own_municipality", 422, false, "Asked the own municipality", "照会先に自分の自治体は指定できません。住民検索を使ってください。") \
    X(ERR_NO_SUCH_MUNICIPALITY, "no_such_municipality", 422, false, "No such municipality", "存在しない自治体コードです。") \
    X(ERR_RESULT_GONE, "result_expired", 410, false, "Result has been deleted", "保存期限を過ぎたため、照会結果は削除されました。もう一度照会してください。") \
    X(ERR_REASON_REQUIRED, "reason_required", 422, false, "A reason is required", "理由を入力してください。")
// clang-format on
#endif
