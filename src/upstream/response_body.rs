//! The body of an answer, whichever version of HTTP it comes over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::answer_body::{AnswerFault, LinkBody};
use super::http2::StreamBody;
use super::tunnel::Tunnel;

/// The body of an answer.
#[derive(Debug)]
pub struct ResponseBody(Inner);

#[derive(Debug)]
enum Inner {
    Link(LinkBody),
    Stream(Box<StreamBody>),
}

impl From<LinkBody> for ResponseBody {
    fn from(body: LinkBody) -> Self {
        Self(Inner::Link(body))
    }
}

impl From<StreamBody> for ResponseBody {
    fn from(body: StreamBody) -> Self {
        Self(Inner::Stream(Box::new(body)))
    }
}

impl ResponseBody {
    /// The connection behind an answer that switched protocols.
    pub fn into_tunnel(self) -> Option<Tunnel> {
        match self.0 {
            Inner::Link(body) => body.into_tunnel(),
            Inner::Stream(_) => None,
        }
    }

    /// Ready once each [`LOOK_EVERY`](super::LOOK_EVERY), while it is asked; never after the end.
    pub fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Inner::Link(body) => body.poll_look(cx),
            Inner::Stream(body) => body.poll_look(cx),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        match &mut self.0 {
            Inner::Link(body) => Pin::new(body).poll_frame(cx),
            Inner::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Link(body) => body.is_end_stream(),
            Inner::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Link(body) => body.size_hint(),
            Inner::Stream(body) => body.size_hint(),
        }
    }
}
