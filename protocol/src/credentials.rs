//! Whoever calls the services of one cluster shows that they belong to it, if a cluster secret is configured.
//!
//! Control calls carry the secret's control token as metadata; servers refuse calls without it before they are decoded.
//! [`Admission`] is also asked about orders, whose token comes another way.

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    status::{ErrorCode, RpcError},
    token::{ClusterSecret, Purpose},
};

const KEY: &str = "penstock-control-token";

/// A channel whose calls show [`Credentials`].
pub type Calls = InterceptedService<Channel, Credentials>;

/// The caller's side.
#[derive(Debug, Clone, Default)]
pub struct Credentials(Option<MetadataValue<Ascii>>);

impl Credentials {
    pub fn new(secret: Option<&ClusterSecret>) -> Self {
        Self(secret.map(|secret| {
            let token = MetadataValue::try_from(secret.cluster_token(Purpose::Control));
            let mut token = token.expect("hexadecimal digits");
            // Never printed, and never put into a compression table.
            token.set_sensitive(true);
            token
        }))
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert(KEY, token.clone());
        }
        Ok(request)
    }
}

/// The server's side. Without a secret everybody may call.
#[derive(Debug, Clone)]
pub struct Admission(pub Option<ClusterSecret>);

/// Why somebody may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAdmitted {
    NoToken,
    WrongToken,
}

impl NotAdmitted {
    /// What was shown: "no" token, or "a wrong" one.
    pub fn shown(self) -> &'static str {
        match self {
            Self::NoToken => "no",
            Self::WrongToken => "a wrong",
        }
    }
}

impl Admission {
    /// Whether who shows this token, or none, may do that.
    pub fn check(&self, purpose: Purpose, shown: Option<&[u8]>) -> Result<(), NotAdmitted> {
        match (&self.0, shown) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(NotAdmitted::NoToken),
            (Some(secret), Some(token)) if secret.admits_to(purpose, token) => Ok(()),
            (Some(_), Some(_)) => Err(NotAdmitted::WrongToken),
        }
    }
}

impl Interceptor for Admission {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request.metadata().get(KEY).map(MetadataValue::as_bytes);
        match self.check(Purpose::Control, shown) {
            Ok(()) => Ok(request),
            Err(refused) => {
                let message = format!(
                    "the call shows {} control token: are all services given the same cluster secret?",
                    refused.shown()
                );
                Err(RpcError::new(ErrorCode::Denied, message).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> ClusterSecret {
        ClusterSecret::parse(text.as_bytes()).expect("long enough")
    }

    fn admitted(caller: Option<&ClusterSecret>, server: Option<&ClusterSecret>) -> Result<(), ErrorCode> {
        let request = Credentials::new(caller).call(Request::new(())).expect("a caller refuses nothing");
        let admitted = Admission(server.cloned()).call(request);
        admitted.map(drop).map_err(|status| RpcError::from(status).code)
    }

    #[test]
    fn only_callers_with_the_same_secret_are_admitted() {
        let (ours, others) = (secret("sixteen bytes of ours"), secret("sixteen bytes of others"));
        assert_eq!(admitted(Some(&ours), Some(&ours)), Ok(()));
        assert_eq!(admitted(Some(&others), Some(&ours)), Err(ErrorCode::Denied));
        assert_eq!(admitted(None, Some(&ours)), Err(ErrorCode::Denied));
        assert_eq!(admitted(Some(&ours), None), Ok(()));
        assert_eq!(admitted(None, None), Ok(()));
    }
}
