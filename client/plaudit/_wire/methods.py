"""The RPCs that the client calls: name and messages of each; what sends them is in `transport`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from plaudit import v1

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ResponseT]):
    """One RPC of a service: its name, and the types of its request and response."""

    name: str
    request: type[RequestT]
    response: type[ResponseT]
    service: str = "FeedbackService"

    @property
    def path(self) -> str:
        """The path on the wire."""
        return f"/plaudit.v1.{self.service}/{self.name}"


CREATE: Final = Method("CreateFeedback", v1.CreateFeedbackRequest, v1.CreateFeedbackResponse)
BATCH_CREATE: Final = Method("BatchCreateFeedback", v1.BatchCreateFeedbackRequest, v1.BatchCreateFeedbackResponse)
GET: Final = Method("GetFeedback", v1.GetFeedbackRequest, v1.GetFeedbackResponse)
QUERY: Final = Method("QueryFeedback", v1.QueryFeedbackRequest, v1.QueryFeedbackResponse)
STREAM: Final = Method("StreamFeedback", v1.StreamFeedbackRequest, v1.StreamFeedbackResponse)
COUNT: Final = Method("CountFeedback", v1.CountFeedbackRequest, v1.CountFeedbackResponse)
LIST_REFS: Final = Method("ListRefs", v1.ListRefsRequest, v1.ListRefsResponse)
REPLACE: Final = Method("ReplaceFeedback", v1.ReplaceFeedbackRequest, v1.ReplaceFeedbackResponse)
PURGE: Final = Method("PurgeFeedback", v1.PurgeFeedbackRequest, v1.PurgeFeedbackResponse)
LIST_VERSIONS: Final = Method("ListFeedbackVersions", v1.ListFeedbackVersionsRequest, v1.ListFeedbackVersionsResponse)
INGEST: Final = Method("IngestFeedback", v1.IngestFeedbackRequest, v1.IngestFeedbackResponse)
IMPORT: Final = Method("ImportFeedback", v1.ImportFeedbackRequest, v1.ImportFeedbackResponse)
WATCH: Final = Method("WatchFeedback", v1.WatchFeedbackRequest, v1.WatchFeedbackResponse)
SERVER_INFO: Final = Method("GetServerInfo", v1.GetServerInfoRequest, v1.GetServerInfoResponse)

_DEFINITIONS: Final = "DefinitionService"
PUT_DEFINITION: Final = Method("PutDefinition", v1.PutDefinitionRequest, v1.PutDefinitionResponse, _DEFINITIONS)
LIST_DEFINITIONS: Final = Method("ListDefinitions", v1.ListDefinitionsRequest, v1.ListDefinitionsResponse, _DEFINITIONS)
CHECK_DEFINITION: Final = Method("CheckDefinition", v1.CheckDefinitionRequest, v1.CheckDefinitionResponse, _DEFINITIONS)
SET_REACTION: Final = Method("SetReaction", v1.SetReactionRequest, v1.SetReactionResponse)

_PROJECTS: Final = "ProjectService"

LIST_PROJECTS: Final = Method("ListProjects", v1.ListProjectsRequest, v1.ListProjectsResponse, _PROJECTS)
CALLER: Final = Method("GetCaller", v1.GetCallerRequest, v1.GetCallerResponse, _PROJECTS)

_RETENTION: Final = "RetentionService"
PUT_RETENTION_RULE: Final = Method(
    "PutRetentionRule", v1.PutRetentionRuleRequest, v1.PutRetentionRuleResponse, _RETENTION
)
LIST_RETENTION_RULES: Final = Method(
    "ListRetentionRules", v1.ListRetentionRulesRequest, v1.ListRetentionRulesResponse, _RETENTION
)
CHECK_RETENTION: Final = Method("CheckRetention", v1.CheckRetentionRequest, v1.CheckRetentionResponse, _RETENTION)

_ANALYTICS: Final = "AnalyticsService"

AGGREGATE: Final = Method("AggregateFeedback", v1.AggregateFeedbackRequest, v1.AggregateFeedbackResponse, _ANALYTICS)
DESCRIBE: Final = Method("DescribeFeedback", v1.DescribeFeedbackRequest, v1.DescribeFeedbackResponse, _ANALYTICS)
SUMMARIZE_REFS: Final = Method("SummarizeRefs", v1.SummarizeRefsRequest, v1.SummarizeRefsResponse, _ANALYTICS)
AGREEMENT: Final = Method("MeasureAgreement", v1.MeasureAgreementRequest, v1.MeasureAgreementResponse, _ANALYTICS)
