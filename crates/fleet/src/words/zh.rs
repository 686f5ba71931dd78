//! Chinese, simplified.

use super::Words;

pub(super) const WORDS: Words = Words {
    critical: "严重",
    warning: "警告",
    recovered: "已恢复",
    unwatched: "不再监控",
    reminder: "仍未解决",
    suite: "Rollcall 自身",
    since: |time| format!("自 {time} 起"),
    servers: |count| format!("{count} 台服务器"),
    more: |count| format!("……另有 {count} 条"),
    test: |channel| format!("这是通道 {channel} 的测试消息，通道工作正常。"),
    subject: |open, over| match (open, over) {
        (open, 0) => format!("Rollcall：{open} 条告警"),
        (0, over) => format!("Rollcall：{over} 条已恢复"),
        (open, over) => format!("Rollcall：{open} 条告警，{over} 条已恢复"),
    },
    subject_of_one: |what, rule, server| format!("{what}：{server} 的 {rule}"),
    look: "查看详情",
    why: |channel| format!("您收到此邮件，是因为通道 {channel} 接收此类事件的通知。"),
};
