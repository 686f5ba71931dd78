use std::{fs, os::unix::fs::PermissionsExt};

use chassis::{Clock, Secret};
use server_management::{FirstAdmin, FirstAdminError, admin_password, first_admin};
use testkit::tempdir;

use crate::{place::Place, suite::NOW};

pub async fn a_generated_password_is_for_its_owner_alone_and_serves(place: Place) {
    let folder = tempdir().unwrap();
    let (registry, file) = (place.registry, folder.path().join("admin-password"));
    let made = first_admin(&registry, None, &file, &Clock::fixed(NOW)).await.unwrap();
    assert_eq!(made, FirstAdmin::Generated);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.trim_end().len() >= 20);
    let user = registry.user_by_name("admin").await.unwrap().unwrap();
    assert!(user.password_hash.starts_with("$argon2id$"));
    assert_eq!(user.scopes.len(), fleet::Scope::ALL.len());

    let again = first_admin(&registry, None, &file, &Clock::fixed(NOW)).await.unwrap();
    assert_eq!(again, FirstAdmin::NotNeeded);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

pub async fn a_crash_between_file_and_user_keeps_the_password_of_the_file(place: Place) {
    let folder = tempdir().unwrap();
    let (registry, file) = (place.registry, folder.path().join("admin-password"));
    fs::write(&file, "left by a crash\n").unwrap();
    fs::write(folder.path().join("admin-password.new"), "hal").unwrap();
    assert_eq!(first_admin(&registry, None, &file, &Clock::fixed(NOW)).await.unwrap(), FirstAdmin::Generated);
    assert_eq!(fs::read_to_string(&file).unwrap(), "left by a crash\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

pub async fn a_given_password_is_written_nowhere(place: Place) {
    let folder = tempdir().unwrap();
    let (registry, file) = (place.registry, folder.path().join("admin-password"));
    let given = Some(Secret::new("given by a person"));
    assert_eq!(first_admin(&registry, given, &file, &Clock::fixed(NOW)).await.unwrap(), FirstAdmin::Given);
    assert!(!file.exists());
}

pub async fn without_a_place_for_the_password_there_is_no_user(place: Place) {
    let folder = tempdir().unwrap();
    let registry = place.registry;
    let nowhere = folder.path().join("no/such/folder/admin-password");
    let error = first_admin(&registry, None, &nowhere, &Clock::fixed(NOW)).await.unwrap_err();
    assert!(matches!(&error, FirstAdminError::File { .. }), "{error}");
    let short = Some(Secret::new("short"));
    let error = first_admin(&registry, short, &nowhere, &Clock::fixed(NOW)).await.unwrap_err();
    assert!(matches!(error, FirstAdminError::BadPassword(_)), "{error}");
    assert!(!registry.has_users().await.unwrap());
}

#[test]
fn a_password_that_nobody_could_log_in_with_is_found_beforehand() {
    for bad in [String::new(), "1234567".to_owned(), "x".repeat(1_025), "with\0a NUL".to_owned()] {
        assert!(admin_password(Secret::new(bad.clone())).is_err(), "{} bytes", bad.len());
    }
    for good in ["12345678".to_owned(), "x".repeat(1_024)] {
        assert_eq!(admin_password(Secret::new(good.clone())).unwrap().expose(), good);
    }
}
