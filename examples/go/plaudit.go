package main

import (
	_ "embed"
	"sort"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// deadline is the time for every unary call, including its retries.
const deadline = 20 * time.Second

// serviceConfig configures which calls gRPC retries, when, and how often.
//
//go:embed plauditv1/feedback_grpc_service_config.json
var serviceConfig string

// connect opens the one channel that a program needs; it is safe to share.
func connect(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig))
}

// newID makes the id of a record. Every retry is safe because the client makes it, not the server.
func newID() string {
	return uuid.Must(uuid.NewV7()).String()
}

// refusal holds the details of a status.
type refusal struct {
	Code     codes.Code        `json:"-"`
	Reason   string            `json:"reason"`
	Metadata map[string]string `json:"metadata"`
	Fields   []string          `json:"fields"`
	// RetryDelay is the time to wait before a retry; nil when the server gave none.
	RetryDelay *time.Duration `json:"retryDelay"`
}

// explain reads the details of a call's error, or of one record's status.
func explain(from *status.Status) refusal {
	found := refusal{Code: from.Code()}
	for _, detail := range from.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			found.Reason, found.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				found.Fields = append(found.Fields, violation.GetField())
			}
		case *errdetails.RetryInfo:
			delay := detail.GetRetryDelay().AsDuration()
			found.RetryDelay = &delay
		}
	}
	sort.Strings(found.Fields)
	return found
}
