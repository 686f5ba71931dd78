//! Vietnamese.

use super::{ReportWords, Words};

pub(super) const WORDS: Words = Words {
    critical: "NGHIÊM TRỌNG",
    warning: "CẢNH BÁO",
    recovered: "ĐÃ KHÔI PHỤC",
    unwatched: "Không còn được giám sát",
    reminder: "VẪN CHƯA XỬ LÝ",
    suite: "Chính hệ thống Rollcall",
    since: |time| format!("từ {time}"),
    servers: |count| format!("{count} máy chủ"),
    more: |count| format!("… và {count} mục khác"),
    test: |channel| format!("Đây là tin nhắn thử của kênh {channel}. Kênh hoạt động."),
    subject: |open, over| match (open, over) {
        (open, 0) => format!("Rollcall: {open} cảnh báo"),
        (0, over) => format!("Rollcall: {over} đã khôi phục"),
        (open, over) => format!("Rollcall: {open} cảnh báo, {over} đã khôi phục"),
    },
    subject_of_one: |what, rule, server| format!("{what}: {rule} trên {server}"),
    look: "Xem chi tiết",
    why: |channel| format!("Rollcall gửi thư này vì kênh {channel} nhận các sự cố như vậy."),
    unreachable: "Máy chủ này không kết nối được với Rollcall",
    report: ReportWords {
        title: "Báo cáo Rollcall",
        period: |from, to| format!("từ {from} đến {to}"),
        about: |servers| format!("Máy chủ: {servers}"),
        about_all: "tất cả",
        down: "mất liên lạc",
        up: "hoạt động",
        unknown: "chưa rõ",
        paused: "tạm dừng",
        server: "Máy chủ",
        state: "Trạng thái",
        uptime: "Thời gian hoạt động",
        fleet_uptime: "Thời gian hoạt động của toàn hệ thống",
        longest_outage: "Lần gián đoạn dài nhất",
        none: "không có",
        ongoing: "vẫn tiếp diễn",
        lasted: |length, from| format!("{length}, từ {from}"),
        worst: "Kém nhất",
        nobody_out: "Không máy chủ nào bị gián đoạn.",
        each: "Từng máy chủ",
        more: |count| format!("… và {count} máy chủ khác trong bảng tính"),
        sheet: "Bảng tính đính kèm có đủ mọi máy chủ.",
        by_day: "Thời gian hoạt động theo ngày",
        subject: |down, servers, uptime, from, to| {
            format!(
                "Rollcall: {down} trên {servers} máy chủ mất liên lạc, thời gian hoạt động {uptime}, từ {from} đến {to}"
            )
        },
        incidents: "Sự cố",
        no_incident: "Không có sự cố nào.",
        counted: |count, open| format!("{count} sự cố trong thời gian này, {open} chưa kết thúc"),
        longest_incident: |length| format!("Sự cố dài nhất kéo dài {length}"),
        mean: |length| format!("Thời gian xử lý trung bình {length}"),
        on: |rule, server| format!("{rule} trên {server}"),
        units: ["ngày", "giờ", "phút", "giây"],
    },
};
