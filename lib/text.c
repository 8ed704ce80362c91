#include "lib/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uchar.h>

enum { NOT_UTF8 = 0x110000 };

uint32_t text_decode(const char **p, const char *end) {
    const uint8_t *s = (const uint8_t *)*p;
    size_t left = (size_t)(end - *p);
    size_t more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
    if (more >= left || (s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4) {
        (*p)++;
        return NOT_UTF8;
    }
    uint32_t c = more == 0 ? s[0] : s[0] & (0x3fU >> more);
    for (size_t i = 1; i <= more; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            (*p)++;
            return NOT_UTF8;
        }
        c = c << 6 | (s[i] & 0x3fU);
    }
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        (*p)++;
        return NOT_UTF8;
    }
    *p += more + 1;
    return c;
}

static void encode(struct buffer *out, uint32_t c) {
    uint8_t b[4];
    size_t n = 0;
    if (c < 0x80) {
        b[n++] = (uint8_t)c;
    } else if (c < 0x800) {
        b[n++] = (uint8_t)(0xc0 | c >> 6);
        b[n++] = (uint8_t)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        b[n++] = (uint8_t)(0xe0 | c >> 12);
        b[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        b[n++] = (uint8_t)(0x80 | (c & 0x3f));
    } else {
        b[n++] = (uint8_t)(0xf0 | c >> 18);
        b[n++] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        b[n++] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        b[n++] = (uint8_t)(0x80 | (c & 0x3f));
    }
    (void)buffer_put(out, b, n);
}

bool text_valid_utf8(const char *s, size_t n) {
    const char *end = s + n;
    while (s < end)
        if (text_decode(&s, end) == NOT_UTF8)
            return false;
    return true;
}

static bool is_selector(uint32_t c) {
    return (c >= 0xfe00 && c <= 0xfe0f) || (c >= 0xe0100 && c <= 0xe01ef) ||
           (c >= 0x180b && c <= 0x180d);
}

size_t text_chars(const char *s) {
    size_t n = 0;
    for (const char *end = s + strlen(s); s < end;)
        if (!is_selector(text_decode(&s, end)))
            n++;
    return n;
}

bool text_printable(const char *s) {
    for (const char *end = s + strlen(s); s < end;) {
        uint32_t c = text_decode(&s, end);
        if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == NOT_UTF8 || c == 0x2028 || c == 0x2029 ||
            c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
            (c >= 0x2066 && c <= 0x2069))
            return false;
    }
    return true;
}

static bool is_space(uint32_t c) {
    return c == ' ' || c == '\t' || c == 0xa0 || (c >= 0x2000 && c <= 0x200b) || c == 0x202f ||
           c == 0x3000 || c == 0xfeff;
}

/* What people type for a hyphen, the long mark included: codes have no kana. */
static bool is_hyphen(uint32_t c) {
    return c == '-' || c == 0xad || (c >= 0x2010 && c <= 0x2015) || c == 0x2212 || c == 0xff0d ||
           c == 0x30fc || c == 0xff70;
}

static uint32_t half_width_upper(uint32_t c) {
    if (c >= 0xff01 && c <= 0xff5e)
        c -= 0xfee0;
    return c >= 'a' && c <= 'z' ? c - 0x20 : c;
}

void text_fold_code(const char *s, struct buffer *out) {
    for (const char *end = s + strlen(s); s < end;) {
        uint32_t c = text_decode(&s, end);
        if (c != NOT_UTF8 && !is_space(c) && !is_hyphen(c))
            encode(out, half_width_upper(c));
    }
}

/* U+FF66..U+FF9F (JIS X 0201 katakana) → full width. */
static const uint16_t full_kana[] = {
    0x30f2, 0x30a1, 0x30a3, 0x30a5, 0x30a7, 0x30a9, 0x30e3, 0x30e5, 0x30e7, 0x30c3, 0x30fc, 0x30a2,
    0x30a4, 0x30a6, 0x30a8, 0x30aa, 0x30ab, 0x30ad, 0x30af, 0x30b1, 0x30b3, 0x30b5, 0x30b7, 0x30b9,
    0x30bb, 0x30bd, 0x30bf, 0x30c1, 0x30c4, 0x30c6, 0x30c8, 0x30ca, 0x30cb, 0x30cc, 0x30cd, 0x30ce,
    0x30cf, 0x30d2, 0x30d5, 0x30d8, 0x30db, 0x30de, 0x30df, 0x30e0, 0x30e1, 0x30e2, 0x30e4, 0x30e6,
    0x30e8, 0x30e9, 0x30ea, 0x30eb, 0x30ec, 0x30ed, 0x30ef, 0x30f3, 0x309b, 0x309c,
};

static uint32_t katakana(uint32_t c) {
    if (c >= 0xff66 && c <= 0xff9f)
        c = full_kana[c - 0xff66];
    if ((c >= 0x3041 && c <= 0x3096) || c == 0x309d || c == 0x309e)
        return c + 0x60;
    if (c == 0x3099) /* combining marks */
        return 0x309b;
    if (c == 0x309a)
        return 0x309c;
    return c;
}

/* The kana with its voiced mark, 0 when there is none. */
static uint32_t voiced(uint32_t kana, uint32_t mark) {
    bool ha = kana >= 0x30cf && kana <= 0x30db && (kana - 0x30cf) % 3 == 0;
    if (mark == 0x309c)
        return ha ? kana + 2 : 0;
    if (kana == 0x30a6)
        return 0x30f4;
    if (kana >= 0x30ef && kana <= 0x30f2)
        return kana + 8;
    if (kana == 0x30fd)
        return 0x30fe;
    bool ka_to_chi = kana >= 0x30ab && kana <= 0x30c1 && kana % 2 == 1;
    bool tsu_to_to = kana == 0x30c4 || kana == 0x30c6 || kana == 0x30c8;
    return ha || ka_to_chi || tsu_to_to ? kana + 1 : 0;
}

void text_fold_kana(const char *s, struct buffer *out) {
    uint32_t held = 0; /* a kana that a mark may still follow */
    for (const char *end = s + strlen(s); s < end;) {
        uint32_t c = text_decode(&s, end);
        if (c == NOT_UTF8 || is_space(c) || c == 0x30fb || c == 0xff65 || c == 0xb7 ||
            is_selector(c))
            continue;
        c = katakana(c);
        uint32_t joined = c == 0x309b || c == 0x309c ? voiced(held, c) : 0;
        if (joined != 0) {
            held = joined;
            continue;
        }
        if (held != 0)
            encode(out, held);
        held = half_width_upper(c);
    }
    if (held != 0)
        encode(out, held);
}

/* Variants that registers and people use for one another in names; sorted by the first column.
 * Old forms, the characters of JIS X 0213 and of IBM's extensions that names are written with, and
 * the CJK compatibility ideographs with their canonical forms (Unicode 14, UnicodeData.txt).
 * Characters that make names of their own (斉 and 斎, 竜 and 龍) stay apart. */
static const struct variant {
    char32_t from, to;
} name_variants[] = {
    {U'㐂', U'喜'},     {U'㟢', U'崎'},     {U'亙', U'亘'},     {U'亞', U'亜'},
    {U'佛', U'仏'},     {U'來', U'来'},     {U'俠', U'侠'},     {U'傳', U'伝'},
    {U'兒', U'児'},     {U'兔', U'兎'},     {U'冨', U'富'},     {U'凜', U'凛'},
    {U'劍', U'剣'},     {U'勳', U'勲'},     {U'卽', U'即'},     {U'參', U'参'},
    {U'吳', U'呉'},     {U'單', U'単'},     {U'國', U'国'},     {U'圍', U'囲'},
    {U'圓', U'円'},     {U'圡', U'土'},     {U'埜', U'野'},     {U'堯', U'尭'},
    {U'塲', U'場'},     {U'增', U'増'},     {U'壯', U'壮'},     {U'壹', U'壱'},
    {U'壽', U'寿'},     {U'學', U'学'},     {U'實', U'実'},     {U'寬', U'寛'},
    {U'寶', U'宝'},     {U'將', U'将'},     {U'專', U'専'},     {U'對', U'対'},
    {U'峯', U'峰'},     {U'嵜', U'崎'},     {U'嶋', U'島'},     {U'嶌', U'島'},
    {U'嶽', U'岳'},     {U'巖', U'巌'},     {U'巢', U'巣'},     {U'廣', U'広'},
    {U'彌', U'弥'},     {U'彥', U'彦'},     {U'德', U'徳'},     {U'惠', U'恵'},
    {U'惡', U'悪'},     {U'戶', U'戸'},     {U'拂', U'払'},     {U'拔', U'抜'},
    {U'搖', U'揺'},     {U'搜', U'捜'},     {U'擴', U'拡'},     {U'攝', U'摂'},
    {U'敎', U'教'},     {U'昻', U'昂'},     {U'晉', U'晋'},     {U'曉', U'暁'},
    {U'曾', U'曽'},     {U'會', U'会'},     {U'枩', U'松'},     {U'柗', U'松'},
    {U'栁', U'柳'},     {U'桒', U'桑'},     {U'桧', U'檜'},     {U'條', U'条'},
    {U'楳', U'梅'},     {U'榮', U'栄'},     {U'槇', U'槙'},     {U'槗', U'橋'},
    {U'樂', U'楽'},     {U'樣', U'様'},     {U'橫', U'横'},     {U'櫻', U'桜'},
    {U'步', U'歩'},     {U'歷', U'歴'},     {U'氣', U'気'},     {U'淸', U'清'},
    {U'淺', U'浅'},     {U'渊', U'淵'},     {U'渕', U'淵'},     {U'溫', U'温'},
    {U'滿', U'満'},     {U'澀', U'渋'},     {U'澁', U'渋'},     {U'澤', U'沢'},
    {U'濟', U'済'},     {U'濤', U'涛'},     {U'濱', U'浜'},     {U'濵', U'浜'},
    {U'瀧', U'滝'},     {U'瀨', U'瀬'},     {U'燈', U'灯'},     {U'爲', U'為'},
    {U'狀', U'状'},     {U'狹', U'狭'},     {U'獨', U'独'},     {U'瑤', U'瑶'},
    {U'畫', U'画'},     {U'當', U'当'},     {U'發', U'発'},     {U'盡', U'尽'},
    {U'眞', U'真'},     {U'礒', U'磯'},     {U'祿', U'禄'},     {U'禮', U'礼'},
    {U'稻', U'稲'},     {U'穗', U'穂'},     {U'竝', U'並'},     {U'籔', U'薮'},
    {U'籠', U'篭'},     {U'粹', U'粋'},     {U'絲', U'糸'},     {U'經', U'経'},
    {U'綠', U'緑'},     {U'緖', U'緒'},     {U'縣', U'県'},     {U'總', U'総'},
    {U'繩', U'縄'},     {U'繪', U'絵'},     {U'聰', U'聡'},     {U'聲', U'声'},
    {U'與', U'与'},     {U'舘', U'館'},     {U'莊', U'荘'},     {U'萬', U'万'},
    {U'藏', U'蔵'},     {U'藝', U'芸'},     {U'藥', U'薬'},     {U'藪', U'薮'},
    {U'蘆', U'芦'},     {U'處', U'処'},     {U'號', U'号'},     {U'螢', U'蛍'},
    {U'衞', U'衛'},     {U'覺', U'覚'},     {U'覽', U'覧'},     {U'觀', U'観'},
    {U'諫', U'諌'},     {U'譽', U'誉'},     {U'讀', U'読'},     {U'豐', U'豊'},
    {U'豫', U'予'},     {U'貳', U'弐'},     {U'賴', U'頼'},     {U'轉', U'転'},
    {U'辨', U'弁'},     {U'遙', U'遥'},     {U'邉', U'辺'},     {U'邊', U'辺'},
    {U'邨', U'村'},     {U'郞', U'郎'},     {U'鄕', U'郷'},     {U'醫', U'医'},
    {U'釋', U'釈'},     {U'鐵', U'鉄'},     {U'鑄', U'鋳'},     {U'關', U'関'},
    {U'隨', U'随'},     {U'險', U'険'},     {U'靈', U'霊'},     {U'靑', U'青'},
    {U'靜', U'静'},     {U'頰', U'頬'},     {U'顯', U'顕'},     {U'飮', U'飲'},
    {U'餘', U'余'},     {U'餠', U'餅'},     {U'驛', U'駅'},     {U'髙', U'高'},
    {U'髮', U'髪'},     {U'鴈', U'雁'},     {U'鷄', U'鶏'},     {U'鷗', U'鴎'},
    {U'鹽', U'塩'},     {U'麥', U'麦'},     {U'麴', U'麹'},     {U'黃', U'黄'},
    {U'黑', U'黒'},     {U'齊', U'斉'},     {U'齋', U'斎'},     {U'龜', U'亀'},
    {U'\uF900', U'豈'}, {U'\uF901', U'更'}, {U'\uF902', U'車'}, {U'\uF903', U'賈'},
    {U'\uF904', U'滑'}, {U'\uF905', U'串'}, {U'\uF906', U'句'}, {U'\uF907', U'亀'},
    {U'\uF908', U'亀'}, {U'\uF909', U'契'}, {U'\uF90A', U'金'}, {U'\uF90B', U'喇'},
    {U'\uF90C', U'奈'}, {U'\uF90D', U'懶'}, {U'\uF90E', U'癩'}, {U'\uF90F', U'羅'},
    {U'\uF910', U'蘿'}, {U'\uF911', U'螺'}, {U'\uF912', U'裸'}, {U'\uF913', U'邏'},
    {U'\uF914', U'楽'}, {U'\uF915', U'洛'}, {U'\uF916', U'烙'}, {U'\uF917', U'珞'},
    {U'\uF918', U'落'}, {U'\uF919', U'酪'}, {U'\uF91A', U'駱'}, {U'\uF91B', U'亂'},
    {U'\uF91C', U'卵'}, {U'\uF91D', U'欄'}, {U'\uF91E', U'爛'}, {U'\uF91F', U'蘭'},
    {U'\uF920', U'鸞'}, {U'\uF921', U'嵐'}, {U'\uF922', U'濫'}, {U'\uF923', U'藍'},
    {U'\uF924', U'襤'}, {U'\uF925', U'拉'}, {U'\uF926', U'臘'}, {U'\uF927', U'蠟'},
    {U'\uF928', U'廊'}, {U'\uF929', U'朗'}, {U'\uF92A', U'浪'}, {U'\uF92B', U'狼'},
    {U'\uF92C', U'郎'}, {U'\uF92D', U'来'}, {U'\uF92E', U'冷'}, {U'\uF92F', U'勞'},
    {U'\uF930', U'擄'}, {U'\uF931', U'櫓'}, {U'\uF932', U'爐'}, {U'\uF933', U'盧'},
    {U'\uF934', U'老'}, {U'\uF935', U'芦'}, {U'\uF936', U'虜'}, {U'\uF937', U'路'},
    {U'\uF938', U'露'}, {U'\uF939', U'魯'}, {U'\uF93A', U'鷺'}, {U'\uF93B', U'碌'},
    {U'\uF93C', U'禄'}, {U'\uF93D', U'緑'}, {U'\uF93E', U'菉'}, {U'\uF93F', U'錄'},
    {U'\uF940', U'鹿'}, {U'\uF941', U'論'}, {U'\uF942', U'壟'}, {U'\uF943', U'弄'},
    {U'\uF944', U'篭'}, {U'\uF945', U'聾'}, {U'\uF946', U'牢'}, {U'\uF947', U'磊'},
    {U'\uF948', U'賂'}, {U'\uF949', U'雷'}, {U'\uF94A', U'壘'}, {U'\uF94B', U'屢'},
    {U'\uF94C', U'樓'}, {U'\uF94D', U'淚'}, {U'\uF94E', U'漏'}, {U'\uF94F', U'累'},
    {U'\uF950', U'縷'}, {U'\uF951', U'陋'}, {U'\uF952', U'勒'}, {U'\uF953', U'肋'},
    {U'\uF954', U'凛'}, {U'\uF955', U'凌'}, {U'\uF956', U'稜'}, {U'\uF957', U'綾'},
    {U'\uF958', U'菱'}, {U'\uF959', U'陵'}, {U'\uF95A', U'読'}, {U'\uF95B', U'拏'},
    {U'\uF95C', U'楽'}, {U'\uF95D', U'諾'}, {U'\uF95E', U'丹'}, {U'\uF95F', U'寧'},
    {U'\uF960', U'怒'}, {U'\uF961', U'率'}, {U'\uF962', U'異'}, {U'\uF963', U'北'},
    {U'\uF964', U'磻'}, {U'\uF965', U'便'}, {U'\uF966', U'復'}, {U'\uF967', U'不'},
    {U'\uF968', U'泌'}, {U'\uF969', U'數'}, {U'\uF96A', U'索'}, {U'\uF96B', U'参'},
    {U'\uF96C', U'塞'}, {U'\uF96D', U'省'}, {U'\uF96E', U'葉'}, {U'\uF96F', U'說'},
    {U'\uF970', U'殺'}, {U'\uF971', U'辰'}, {U'\uF972', U'沈'}, {U'\uF973', U'拾'},
    {U'\uF974', U'若'}, {U'\uF975', U'掠'}, {U'\uF976', U'略'}, {U'\uF977', U'亮'},
    {U'\uF978', U'兩'}, {U'\uF979', U'凉'}, {U'\uF97A', U'梁'}, {U'\uF97B', U'糧'},
    {U'\uF97C', U'良'}, {U'\uF97D', U'諒'}, {U'\uF97E', U'量'}, {U'\uF97F', U'勵'},
    {U'\uF980', U'呂'}, {U'\uF981', U'女'}, {U'\uF982', U'廬'}, {U'\uF983', U'旅'},
    {U'\uF984', U'濾'}, {U'\uF985', U'礪'}, {U'\uF986', U'閭'}, {U'\uF987', U'驪'},
    {U'\uF988', U'麗'}, {U'\uF989', U'黎'}, {U'\uF98A', U'力'}, {U'\uF98B', U'曆'},
    {U'\uF98C', U'歴'}, {U'\uF98D', U'轢'}, {U'\uF98E', U'年'}, {U'\uF98F', U'憐'},
    {U'\uF990', U'戀'}, {U'\uF991', U'撚'}, {U'\uF992', U'漣'}, {U'\uF993', U'煉'},
    {U'\uF994', U'璉'}, {U'\uF995', U'秊'}, {U'\uF996', U'練'}, {U'\uF997', U'聯'},
    {U'\uF998', U'輦'}, {U'\uF999', U'蓮'}, {U'\uF99A', U'連'}, {U'\uF99B', U'鍊'},
    {U'\uF99C', U'列'}, {U'\uF99D', U'劣'}, {U'\uF99E', U'咽'}, {U'\uF99F', U'烈'},
    {U'\uF9A0', U'裂'}, {U'\uF9A1', U'說'}, {U'\uF9A2', U'廉'}, {U'\uF9A3', U'念'},
    {U'\uF9A4', U'捻'}, {U'\uF9A5', U'殮'}, {U'\uF9A6', U'簾'}, {U'\uF9A7', U'獵'},
    {U'\uF9A8', U'令'}, {U'\uF9A9', U'囹'}, {U'\uF9AA', U'寧'}, {U'\uF9AB', U'嶺'},
    {U'\uF9AC', U'怜'}, {U'\uF9AD', U'玲'}, {U'\uF9AE', U'瑩'}, {U'\uF9AF', U'羚'},
    {U'\uF9B0', U'聆'}, {U'\uF9B1', U'鈴'}, {U'\uF9B2', U'零'}, {U'\uF9B3', U'霊'},
    {U'\uF9B4', U'領'}, {U'\uF9B5', U'例'}, {U'\uF9B6', U'礼'}, {U'\uF9B7', U'醴'},
    {U'\uF9B8', U'隸'}, {U'\uF9B9', U'悪'}, {U'\uF9BA', U'了'}, {U'\uF9BB', U'僚'},
    {U'\uF9BC', U'寮'}, {U'\uF9BD', U'尿'}, {U'\uF9BE', U'料'}, {U'\uF9BF', U'楽'},
    {U'\uF9C0', U'燎'}, {U'\uF9C1', U'療'}, {U'\uF9C2', U'蓼'}, {U'\uF9C3', U'遼'},
    {U'\uF9C4', U'龍'}, {U'\uF9C5', U'暈'}, {U'\uF9C6', U'阮'}, {U'\uF9C7', U'劉'},
    {U'\uF9C8', U'杻'}, {U'\uF9C9', U'柳'}, {U'\uF9CA', U'流'}, {U'\uF9CB', U'溜'},
    {U'\uF9CC', U'琉'}, {U'\uF9CD', U'留'}, {U'\uF9CE', U'硫'}, {U'\uF9CF', U'紐'},
    {U'\uF9D0', U'類'}, {U'\uF9D1', U'六'}, {U'\uF9D2', U'戮'}, {U'\uF9D3', U'陸'},
    {U'\uF9D4', U'倫'}, {U'\uF9D5', U'崙'}, {U'\uF9D6', U'淪'}, {U'\uF9D7', U'輪'},
    {U'\uF9D8', U'律'}, {U'\uF9D9', U'慄'}, {U'\uF9DA', U'栗'}, {U'\uF9DB', U'率'},
    {U'\uF9DC', U'隆'}, {U'\uF9DD', U'利'}, {U'\uF9DE', U'吏'}, {U'\uF9DF', U'履'},
    {U'\uF9E0', U'易'}, {U'\uF9E1', U'李'}, {U'\uF9E2', U'梨'}, {U'\uF9E3', U'泥'},
    {U'\uF9E4', U'理'}, {U'\uF9E5', U'痢'}, {U'\uF9E6', U'罹'}, {U'\uF9E7', U'裏'},
    {U'\uF9E8', U'裡'}, {U'\uF9E9', U'里'}, {U'\uF9EA', U'離'}, {U'\uF9EB', U'匿'},
    {U'\uF9EC', U'溺'}, {U'\uF9ED', U'吝'}, {U'\uF9EE', U'燐'}, {U'\uF9EF', U'璘'},
    {U'\uF9F0', U'藺'}, {U'\uF9F1', U'隣'}, {U'\uF9F2', U'鱗'}, {U'\uF9F3', U'麟'},
    {U'\uF9F4', U'林'}, {U'\uF9F5', U'淋'}, {U'\uF9F6', U'臨'}, {U'\uF9F7', U'立'},
    {U'\uF9F8', U'笠'}, {U'\uF9F9', U'粒'}, {U'\uF9FA', U'状'}, {U'\uF9FB', U'炙'},
    {U'\uF9FC', U'識'}, {U'\uF9FD', U'什'}, {U'\uF9FE', U'茶'}, {U'\uF9FF', U'刺'},
    {U'\uFA00', U'切'}, {U'\uFA01', U'度'}, {U'\uFA02', U'拓'}, {U'\uFA03', U'糖'},
    {U'\uFA04', U'宅'}, {U'\uFA05', U'洞'}, {U'\uFA06', U'暴'}, {U'\uFA07', U'輻'},
    {U'\uFA08', U'行'}, {U'\uFA09', U'降'}, {U'\uFA0A', U'見'}, {U'\uFA0B', U'廓'},
    {U'\uFA0C', U'兀'}, {U'\uFA0D', U'嗀'}, {U'\uFA10', U'塚'}, {U'\uFA11', U'崎'},
    {U'\uFA12', U'晴'}, {U'\uFA15', U'凞'}, {U'\uFA16', U'猪'}, {U'\uFA17', U'益'},
    {U'\uFA18', U'礼'}, {U'\uFA19', U'神'}, {U'\uFA1A', U'祥'}, {U'\uFA1B', U'福'},
    {U'\uFA1C', U'靖'}, {U'\uFA1D', U'精'}, {U'\uFA1E', U'羽'}, {U'\uFA20', U'蘒'},
    {U'\uFA22', U'諸'}, {U'\uFA25', U'逸'}, {U'\uFA26', U'都'}, {U'\uFA2A', U'飯'},
    {U'\uFA2B', U'飼'}, {U'\uFA2C', U'館'}, {U'\uFA2D', U'鶴'}, {U'\uFA2E', U'郎'},
    {U'\uFA2F', U'隷'}, {U'\uFA30', U'侮'}, {U'\uFA31', U'僧'}, {U'\uFA32', U'免'},
    {U'\uFA33', U'勉'}, {U'\uFA34', U'勤'}, {U'\uFA35', U'卑'}, {U'\uFA36', U'喝'},
    {U'\uFA37', U'嘆'}, {U'\uFA38', U'器'}, {U'\uFA39', U'塀'}, {U'\uFA3A', U'墨'},
    {U'\uFA3B', U'層'}, {U'\uFA3C', U'屮'}, {U'\uFA3D', U'悔'}, {U'\uFA3E', U'慨'},
    {U'\uFA3F', U'憎'}, {U'\uFA40', U'懲'}, {U'\uFA41', U'敏'}, {U'\uFA42', U'既'},
    {U'\uFA43', U'暑'}, {U'\uFA44', U'梅'}, {U'\uFA45', U'海'}, {U'\uFA46', U'渚'},
    {U'\uFA47', U'漢'}, {U'\uFA48', U'煮'}, {U'\uFA49', U'爫'}, {U'\uFA4A', U'琢'},
    {U'\uFA4B', U'碑'}, {U'\uFA4C', U'社'}, {U'\uFA4D', U'祉'}, {U'\uFA4E', U'祈'},
    {U'\uFA4F', U'祐'}, {U'\uFA50', U'祖'}, {U'\uFA51', U'祝'}, {U'\uFA52', U'禍'},
    {U'\uFA53', U'禎'}, {U'\uFA54', U'穀'}, {U'\uFA55', U'突'}, {U'\uFA56', U'節'},
    {U'\uFA57', U'練'}, {U'\uFA58', U'縉'}, {U'\uFA59', U'繁'}, {U'\uFA5A', U'署'},
    {U'\uFA5B', U'者'}, {U'\uFA5C', U'臭'}, {U'\uFA5D', U'艹'}, {U'\uFA5E', U'艹'},
    {U'\uFA5F', U'著'}, {U'\uFA60', U'褐'}, {U'\uFA61', U'視'}, {U'\uFA62', U'謁'},
    {U'\uFA63', U'謹'}, {U'\uFA64', U'賓'}, {U'\uFA65', U'贈'}, {U'\uFA66', U'辶'},
    {U'\uFA67', U'逸'}, {U'\uFA68', U'難'}, {U'\uFA69', U'響'}, {U'\uFA6A', U'頻'},
    {U'\uFA6B', U'恵'}, {U'\uFA6C', U'𤋮'}, {U'\uFA6D', U'館'}, {U'\uFA70', U'並'},
    {U'\uFA71', U'况'}, {U'\uFA72', U'全'}, {U'\uFA73', U'侀'}, {U'\uFA74', U'充'},
    {U'\uFA75', U'冀'}, {U'\uFA76', U'勇'}, {U'\uFA77', U'勺'}, {U'\uFA78', U'喝'},
    {U'\uFA79', U'啕'}, {U'\uFA7A', U'喙'}, {U'\uFA7B', U'嗢'}, {U'\uFA7C', U'塚'},
    {U'\uFA7D', U'墳'}, {U'\uFA7E', U'奄'}, {U'\uFA7F', U'奔'}, {U'\uFA80', U'婢'},
    {U'\uFA81', U'嬨'}, {U'\uFA82', U'廒'}, {U'\uFA83', U'廙'}, {U'\uFA84', U'彩'},
    {U'\uFA85', U'徭'}, {U'\uFA86', U'惘'}, {U'\uFA87', U'慎'}, {U'\uFA88', U'愈'},
    {U'\uFA89', U'憎'}, {U'\uFA8A', U'慠'}, {U'\uFA8B', U'懲'}, {U'\uFA8C', U'戴'},
    {U'\uFA8D', U'揄'}, {U'\uFA8E', U'捜'}, {U'\uFA8F', U'摒'}, {U'\uFA90', U'敖'},
    {U'\uFA91', U'晴'}, {U'\uFA92', U'朗'}, {U'\uFA93', U'望'}, {U'\uFA94', U'杖'},
    {U'\uFA95', U'歹'}, {U'\uFA96', U'殺'}, {U'\uFA97', U'流'}, {U'\uFA98', U'滛'},
    {U'\uFA99', U'滋'}, {U'\uFA9A', U'漢'}, {U'\uFA9B', U'瀞'}, {U'\uFA9C', U'煮'},
    {U'\uFA9D', U'瞧'}, {U'\uFA9E', U'爵'}, {U'\uFA9F', U'犯'}, {U'\uFAA0', U'猪'},
    {U'\uFAA1', U'瑱'}, {U'\uFAA2', U'甆'}, {U'\uFAA3', U'画'}, {U'\uFAA4', U'瘝'},
    {U'\uFAA5', U'瘟'}, {U'\uFAA6', U'益'}, {U'\uFAA7', U'盛'}, {U'\uFAA8', U'直'},
    {U'\uFAA9', U'睊'}, {U'\uFAAA', U'着'}, {U'\uFAAB', U'磌'}, {U'\uFAAC', U'窱'},
    {U'\uFAAD', U'節'}, {U'\uFAAE', U'类'}, {U'\uFAAF', U'絛'}, {U'\uFAB0', U'練'},
    {U'\uFAB1', U'缾'}, {U'\uFAB2', U'者'}, {U'\uFAB3', U'荒'}, {U'\uFAB4', U'華'},
    {U'\uFAB5', U'蝹'}, {U'\uFAB6', U'襁'}, {U'\uFAB7', U'覆'}, {U'\uFAB8', U'視'},
    {U'\uFAB9', U'調'}, {U'\uFABA', U'諸'}, {U'\uFABB', U'請'}, {U'\uFABC', U'謁'},
    {U'\uFABD', U'諾'}, {U'\uFABE', U'諭'}, {U'\uFABF', U'謹'}, {U'\uFAC0', U'變'},
    {U'\uFAC1', U'贈'}, {U'\uFAC2', U'輸'}, {U'\uFAC3', U'遲'}, {U'\uFAC4', U'醙'},
    {U'\uFAC5', U'鉶'}, {U'\uFAC6', U'陼'}, {U'\uFAC7', U'難'}, {U'\uFAC8', U'靖'},
    {U'\uFAC9', U'韛'}, {U'\uFACA', U'響'}, {U'\uFACB', U'頋'}, {U'\uFACC', U'頻'},
    {U'\uFACD', U'鬒'}, {U'\uFACE', U'亀'}, {U'\uFACF', U'𢡊'}, {U'\uFAD0', U'𢡄'},
    {U'\uFAD1', U'𣏕'}, {U'\uFAD2', U'㮝'}, {U'\uFAD3', U'䀘'}, {U'\uFAD4', U'䀹'},
    {U'\uFAD5', U'𥉉'}, {U'\uFAD6', U'𥳐'}, {U'\uFAD7', U'𧻓'}, {U'\uFAD8', U'齃'},
    {U'\uFAD9', U'龎'}, {U'𠀋', U'丈'},     {U'𠮷', U'吉'},     {U'𡈽', U'土'},
    {U'𣘺', U'橋'},
};

static int compare_variant(const void *key, const void *entry) {
    char32_t c = *(const char32_t *)key, from = ((const struct variant *)entry)->from;
    return (c > from) - (c < from);
}

void text_fold_name(const char *s, struct buffer *out) {
    for (const char *end = s + strlen(s); s < end;) {
        char32_t c = text_decode(&s, end);
        if (c == NOT_UTF8 || is_space(c) || is_selector(c))
            continue;
        if (c >= 0x3400) {
            const struct variant *v =
                bsearch(&c, name_variants, sizeof name_variants / sizeof name_variants[0],
                        sizeof name_variants[0], compare_variant);
            c = v == NULL ? c : v->to;
        }
        encode(out, half_width_upper(c));
    }
}

bool text_starts_with(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool text_u64(const char **p, uint64_t max, uint64_t *out) {
    const char *at = *p;
    uint64_t n = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (digit > max || n > (max - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    if (at == *p)
        return false;
    *p = at;
    *out = n;
    return true;
}

void text_ascii_digits(char *s) {
    char *to = s;
    while (*s != '\0') {
        /* U+FF10..U+FF19 are EF BC 90 .. EF BC 99. */
        if ((uint8_t)s[0] == 0xef && (uint8_t)s[1] == 0xbc && (uint8_t)s[2] >= 0x90 &&
            (uint8_t)s[2] <= 0x99) {
            *to++ = (char)('0' + ((uint8_t)s[2] - 0x90));
            s += 3;
        } else {
            *to++ = *s++;
        }
    }
    *to = '\0';
}
