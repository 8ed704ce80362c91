"""Synthetic residents and coupons for the demonstration: deterministic, valid check digits,
believable names, and the awkward cases that real registers hold (髙﨑, 辻󠄀 with a variation
selector, long katakana, Latin, middle dots, twins, a deceased, a moved-out, a protected person, a
reissued coupon, a changed 個人番号).

    python3 dev/residents.py CODE [COUNT] > residents.csv

Nobody in here exists: numbers are drawn at random and only their check digits are right.
"""
import csv
import random
import sys

HEADER = ["処理区分", "個人番号", "宛名番号", "自治体コード", "接種券番号", "氏名", "カナ", "生年月日",
          "性別", "住所", "異動区分", "異動日", "接種券送付日"]

FAMILY = """佐藤 サトウ 鈴木 スズキ 高橋 タカハシ 田中 タナカ 伊藤 イトウ 渡辺 ワタナベ 山本 ヤマモト 中村 ナカムラ
小林 コバヤシ 加藤 カトウ 吉田 ヨシダ 山田 ヤマダ 佐々木 ササキ 山口 ヤマグチ 松本 マツモト 井上 イノウエ 木村 キムラ
林 ハヤシ 斎藤 サイトウ 清水 シミズ 山崎 ヤマザキ 森 モリ 池田 イケダ 橋本 ハシモト 阿部 アベ 石川 イシカワ 山下 ヤマシタ
中島 ナカジマ 石井 イシイ 小川 オガワ 前田 マエダ 岡田 オカダ 長谷川 ハセガワ 藤田 フジタ 後藤 ゴトウ 近藤 コンドウ
村上 ムラカミ 遠藤 エンドウ 青木 アオキ 坂本 サカモト 髙﨑 タカサキ 髙橋 タカハシ 濵田 ハマダ 渡邊 ワタナベ 辻\U000e0100 ツジ
德永 トクナガ 𠮷野 ヨシノ 神﨑 カンザキ 新垣 アラカキ 東恩納 ヒガオンナ 勅使河原 テシガワラ 西園寺 サイオンジ 二階堂 ニカイドウ""".split()
MALE = """翔太 ショウタ 健一 ケンイチ 大輔 ダイスケ 誠 マコト 直樹 ナオキ 拓也 タクヤ 一郎 イチロウ 勇 イサム 蓮 レン 陽翔 ハルト
清 キヨシ 正 タダシ 博 ヒロシ 茂 シゲル 隆 タカシ 悠真 ユウマ 樹 イツキ 湊 ミナト 朝陽 アサヒ 光太郎 コウタロウ""".split()
FEMALE = """花子 ハナコ 美咲 ミサキ 陽菜 ヒナ 結衣 ユイ 恵子 ケイコ 和子 カズコ 幸子 サチコ 節子 セツコ 由美子 ユミコ 真由美 マユミ
葵 アオイ 凛 リン 紬 ツムギ さくら サクラ 明美 アケミ 久美子 クミコ 千代 チヨ キヨ キヨ 琴音 コトネ 莉子 リコ""".split()
FOREIGN = [("JOHNSON MICHAEL EDWARD", "ジョンソン マイケル エドワード"),
           ("グエン・ティ・フオン", "グエン ティ フオン"),
           ("クリストファー・アレクサンダー・モンゴメリー゠スミス",
            "クリストファー アレクサンダー モンゴメリー スミス"),
           ("PHAM VAN DUC", "ファム ヴァン ドゥック"), ("金 秀賢", "キム スヒョン"),
           ("マリア・ダ・コンセイソン・ロドリゲス・デ・オリヴェイラ",
            "マリア ダ コンセイソン ロドリゲス デ オリヴェイラ")]
TOWNS = {
    "131032": ("東京都港区", ["芝公園", "六本木", "赤坂", "南青山", "白金台", "三田", "高輪", "台場"]),
    "142051": ("神奈川県藤沢市", ["鵠沼海岸", "辻堂", "片瀬江の島", "湘南台", "本町", "善行", "石川"]),
    "462012": ("鹿児島県鹿児島市", ["山下町", "天文館", "郡元", "桜島", "谷山中央", "吉野町", "与次郎"]),
}


def personal_number(rng):
    """12 digits with a right check digit (番号法: weights 6 5 4 3 2 7 6 5 4 3 2, mod 11)."""
    digits = [rng.randrange(10) for _ in range(11)]
    if not any(digits):
        digits[10] = 1
    r = sum(d * w for d, w in zip(digits, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2))) % 11
    return "".join(map(str, digits)) + str(0 if r <= 1 else 11 - r)


def generate(code, count=20000, seed=2021):
    """Rows of the residents layout, and a list of samples: dicts with a note for each awkward case."""
    rng = random.Random(f"{seed}/{code}")
    town, quarters = TOWNS.get(code, ("", ["本町"]))
    used = set()

    def new_number():
        while True:
            n = personal_number(rng)
            if n not in used:
                used.add(n)
                return n

    def pair(words):
        i = rng.randrange(len(words) // 2) * 2
        return words[i], words[i + 1]

    rows, samples = [], []
    twin = None
    for i in range(count):
        sex = rng.choice((1, 2))
        family, family_kana = pair(FAMILY)
        given, given_kana = pair(MALE if sex == 1 else FEMALE)
        year = int(rng.triangular(1922, 2016, 1962))
        birth = f"{year:04d}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}"
        address = (f"{town}{rng.choice(quarters)}{rng.randrange(1, 8)}丁目{rng.randrange(1, 30)}"
                   f"番{rng.randrange(1, 20)}号")
        name, kana = f"{family}　{given}", f"{family_kana} {given_kana}"
        if rng.randrange(200) == 0:
            name, kana = rng.choice(FOREIGN)
        if i % 400 == 7:  # twins: same family name, birth date and address, given name differs
            twin = (family, family_kana, birth, address)
        elif i % 400 == 8:
            family, family_kana, birth, address = twin
            name, kana = f"{family}　{given}", f"{family_kana} {given_kana}"
        row = {"処理区分": "1", "個人番号": new_number(), "宛名番号": f"{code[:5]}{i + 1:07d}",
               "自治体コード": code, "接種券番号": f"{(i + 1) * 7 + 1000000:010d}", "氏名": name,
               "カナ": kana, "生年月日": birth, "性別": str(sex), "住所": address, "異動区分": "0",
               "異動日": "", "接種券送付日": "20210401"}
        note = ""
        if i % 1000 == 11:
            row.update({"異動区分": "2", "異動日": "20210615"})
            note = "deceased"
        elif i % 500 == 12:
            row.update({"異動区分": "1", "異動日": "20210820"})
            note = "moved_out"
        elif i == 13:
            note = "protected"  # the flag is set through the API, the layout has no column for it
        rows.append(row)
        again = dict(row, 異動区分="0", 異動日="")
        if i % 1000 == 14:
            again["接種券番号"] = f"{9000000000 + i:010d}"
            rows.append(again)
            note = "reissued_coupon"
        elif i % 2000 == 15:
            again["個人番号"] = new_number()
            rows.append(again)
            note = "changed_number"
        if i < 60 or (note and len(samples) < 120):
            last = rows[-1]
            samples.append({"municipality_code": code, "addressee_number": row["宛名番号"],
                            "personal_number": last["個人番号"], "coupon_number": last["接種券番号"],
                            "birth_date": f"{birth[:4]}-{birth[4:6]}-{birth[6:]}",
                            "name_kana": kana, "note": note})
    return rows, samples


def ocr_line(code, coupon_number, dose, kind=2):
    return f"{kind}{dose}{code}{coupon_number}"


def write_csv(out, rows):
    w = csv.DictWriter(out, HEADER, lineterminator="\r\n")
    w.writeheader()
    w.writerows(rows)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: residents.py CODE [COUNT]")
    sys.stdout.reconfigure(encoding="utf-8", newline="")
    write_csv(sys.stdout, generate(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20000)[0])
