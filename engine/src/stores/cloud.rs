//! Stores in clouds. What they need to know comes from the environment that each cloud's own tools use; what cannot get a
//! credential there says so at once, instead of trying for minutes what only works on a machine of that cloud.

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use datafusion::common::{DataFusionError, exec_datafusion_err};
use object_store::{
    CredentialProvider, ObjectStore, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
};
use url::Url;

use super::key;

type Opened = Result<Arc<dyn ObjectStore>, DataFusionError>;

const S3_NEEDS: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run on a machine that has a role";
const GOOGLE_NEEDS: &str = "set GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS to a key file, or run on a \
                            machine that has a service account";
const AZURE_NEEDS: &str = "set AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_KEY or \
                           AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID, or run on a machine that has an \
                           identity";

/// No credential for a location. It is the user's to mend, on every process that reads or writes there.
#[derive(Debug, thiserror::Error)]
#[error("there is no valid credential for `{location}`: {source}")]
pub(crate) struct NoCredential {
    location: String,
    pub needs: &'static str,
    source: Box<object_store::Error>,
}

pub(super) fn s3(url: &Url) -> Opened {
    let plain_endpoint = ["AWS_ENDPOINT", "AWS_ENDPOINT_URL"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .any(|endpoint| endpoint.starts_with("http://"));
    let bucket = url.host_str().ok_or_else(|| exec_datafusion_err!("{} names no bucket", key(url)))?;
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let builder = if plain_endpoint { builder.with_allow_http(true) } else { builder };
    let asking = builder.clone().with_retry(asking()).build().map_err(|error| unset(url, S3_NEEDS, error))?;
    let credentials = Asked::of(url, S3_NEEDS, asking.credentials().clone());
    Ok(Arc::new(builder.with_credentials(credentials).build()?))
}

pub(super) fn google(url: &Url) -> Opened {
    open_google(url, GoogleCloudStorageBuilder::from_env())
}

fn open_google(url: &Url, environment: GoogleCloudStorageBuilder) -> Opened {
    let builder = environment.with_url(key(url));
    let asking =
        builder.clone().with_retry(asking()).build().map_err(|error| unset(url, GOOGLE_NEEDS, error))?;
    let credentials = Asked::of(url, GOOGLE_NEEDS, asking.credentials().clone());
    Ok(Arc::new(builder.with_credentials(credentials).build()?))
}

pub(super) fn azure(url: &Url) -> Opened {
    open_azure(url, MicrosoftAzureBuilder::from_env())
}

fn open_azure(url: &Url, environment: MicrosoftAzureBuilder) -> Opened {
    let builder = environment.with_url(key(url));
    let asking =
        builder.clone().with_retry(asking()).build().map_err(|error| unset(url, AZURE_NEEDS, error))?;
    let credentials = Asked::of(url, AZURE_NEEDS, asking.credentials().clone());
    Ok(Arc::new(builder.with_credentials(credentials).build()?))
}

/// Credentials are asked for with less patience than data.
fn asking() -> RetryConfig {
    RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() }
}

/// The environment does not say enough, or what it names is not there.
fn unset(url: &Url, needs: &'static str, source: object_store::Error) -> DataFusionError {
    DataFusionError::External(Box::new(NoCredential { location: key(url), needs, source: Box::new(source) }))
}

/// A cloud's credentials, whose absence has a name.
#[derive(Debug)]
struct Asked<C> {
    location: String,
    needs: &'static str,
    provider: Arc<dyn CredentialProvider<Credential = C>>,
}

impl<C: Debug + Send + Sync + 'static> Asked<C> {
    fn of(
        url: &Url,
        needs: &'static str,
        provider: Arc<dyn CredentialProvider<Credential = C>>,
    ) -> Arc<dyn CredentialProvider<Credential = C>> {
        Arc::new(Self { location: key(url), needs, provider })
    }
}

#[async_trait]
impl<C: Debug + Send + Sync + 'static> CredentialProvider for Asked<C> {
    type Credential = C;

    async fn get_credential(&self) -> object_store::Result<Arc<C>> {
        self.provider.get_credential().await.map_err(|source| {
            let (location, needs) = (self.location.clone(), self.needs);
            let path = location.clone();
            let source = NoCredential { location, needs, source: Box::new(source) };
            object_store::Error::Unauthenticated { path, source: Box::new(source) }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use penstock_protocol::task::{Failure, FailureClass};

    use super::*;
    use crate::error::classify;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("is a URL")
    }

    /// An account whose machine has no identity: nobody listens where it would be asked for.
    fn azure_elsewhere() -> MicrosoftAzureBuilder {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let endpoint = format!("http://{}/token", nobody.expect("a port is free"));
        MicrosoftAzureBuilder::new().with_account("account").with_msi_endpoint(endpoint)
    }

    #[track_caller]
    fn check(failure: &Failure, location: &str, needs: &str) {
        assert_eq!(failure.class, FailureClass::UserData, "{failure:?}");
        let start = format!("there is no valid credential for `{location}`: ");
        assert!(failure.message.starts_with(&start), "{failure:?}");
        assert_eq!(failure.message.matches("credential for").count(), 1, "{failure:?}");
        assert!(failure.advice.as_ref().is_some_and(|advice| advice.contains(needs)), "{failure:?}");
    }

    #[tokio::test]
    async fn a_credential_that_nobody_gives_is_one_error_that_says_what_to_set() {
        for location in ["az://container", "abfss://container@account.dfs.core.windows.net"] {
            let store = open_azure(&url(&format!("{location}/folder/")), azure_elsewhere()).expect("opens");
            let listed = store.list(None).try_collect::<Vec<_>>().await;
            let failure = classify(&listed.expect_err("nobody is asked").into());
            check(&failure, location, "AZURE_STORAGE_ACCOUNT_KEY");
        }
    }

    #[test]
    fn an_environment_that_says_too_little_is_one_error_that_says_what_to_set() {
        let azure = open_azure(&url("az://container/folder/"), MicrosoftAzureBuilder::new());
        check(&classify(&azure.expect_err("has no account")), "az://container", "AZURE_STORAGE_ACCOUNT_NAME");
        let absent = GoogleCloudStorageBuilder::new().with_application_credentials("/nowhere/key.json");
        let google = open_google(&url("gs://bucket/folder/"), absent);
        let failure = classify(&google.expect_err("has no key file"));
        check(&failure, "gs://bucket", "GOOGLE_APPLICATION_CREDENTIALS");
        assert!(failure.message.contains("/nowhere/key.json"), "{failure:?}");
    }

    #[test]
    fn stores_open_with_what_the_environment_says() {
        let key = r#"{"gcs_base_url": "http://localhost", "disable_oauth": true, "client_email": "", "private_key": "",
                      "private_key_id": ""}"#;
        let google = GoogleCloudStorageBuilder::new().with_service_account_key(key);
        let store = open_google(&url("gs://bucket/folder/"), google).expect("opens");
        assert_eq!(store.to_string(), "GoogleCloudStorage(bucket)");
        let azure = MicrosoftAzureBuilder::new().with_account("account").with_bearer_token_authorization("t");
        let store = open_azure(&url("abfs://container/x.csv"), azure).expect("opens");
        assert_eq!(store.to_string(), "MicrosoftAzure { account: account, container: container }");
    }
}
