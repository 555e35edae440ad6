//! The versions of the job store's tables, oldest first. What was released is never changed: a change is a new file.

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// Version, what it brings, and its statements.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "jobs", include_str!("../../migrations/0001_jobs.sql"))];

pub(super) fn migrator() -> Migrator {
    let migration = |(version, brings, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, brings.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_is_listed_under_its_version_and_name() {
        let folder = std::fs::read_dir("migrations").unwrap();
        let files: BTreeSet<String> =
            folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let listed = MIGRATIONS.map(|(version, brings, _)| format!("{version:04}_{brings}.sql"));
        assert_eq!(files, BTreeSet::from(listed));
    }
}
