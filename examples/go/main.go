// Stores a 👍 on a call and reads it back; or, given a conversation, plays it (see conversation.go).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	plauditv1 "plaudit.dev/examples/go/plauditv1"
)

const (
	project = "acme/chat"
	ref     = "weave:///acme/chat/call/0192"
)

func thumbsUp(connection *grpc.ClientConn) error {
	client := plauditv1.NewFeedbackServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()

	payload, err := json.Marshal(map[string]any{"emoji": "👍"})
	if err != nil {
		return err
	}
	stored, err := client.CreateFeedback(ctx, &plauditv1.CreateFeedbackRequest{
		Project: project,
		Feedback: &plauditv1.Feedback{
			Id: newID(), Ref: ref, FeedbackType: "wandb.reaction.1", PayloadJson: string(payload),
		},
	})
	if err != nil {
		found := explain(status.Convert(err))
		return fmt.Errorf("%s, fields %v: %w", found.Reason, found.Fields, err)
	}
	fmt.Println("stored", stored.GetFeedback().GetId(), stored.GetFeedback().GetPayloadJson())

	onRef := &plauditv1.Query{Expr: &plauditv1.Expression{Kind: &plauditv1.Expression_Comparison{
		Comparison: &plauditv1.Comparison{
			Op:   plauditv1.ComparisonOp_COMPARISON_OP_EQ,
			Left: &plauditv1.Expression{Kind: &plauditv1.Expression_Field{Field: "ref"}},
			Right: &plauditv1.Expression{Kind: &plauditv1.Expression_Literal{
				Literal: &plauditv1.Literal{Value: &plauditv1.Literal_StringValue{StringValue: ref}},
			}},
		},
	}}}
	for token := ""; ; {
		page, err := client.QueryFeedback(ctx, &plauditv1.QueryFeedbackRequest{Project: project, Query: onRef, PageToken: token})
		if err != nil {
			return err
		}
		for _, feedback := range page.GetFeedback() {
			fmt.Println("found", feedback.GetCreatedAt().AsTime(), feedback.GetFeedbackType(), feedback.GetPayloadJson())
		}
		if token = page.GetNextPageToken(); token == "" {
			return nil
		}
	}
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: plaudit-example TARGET [CONVERSATION]")
	}
	connection, err := connect(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	if len(os.Args) > 2 {
		err = play(connection, os.Args[2])
	} else {
		err = thumbsUp(connection)
	}
	if err != nil {
		log.Fatal(err)
	}
}
