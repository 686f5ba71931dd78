//! Vietnamese.

use super::Words;

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
};
