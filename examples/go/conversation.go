package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	plauditv1 "plaudit.dev/examples/go/plauditv1"
)

// step is one call of a conversation; docs/polyglot.md explains its parts.
type step struct {
	Step    string            `json:"step"`
	Service string            `json:"service"`
	Call    string            `json:"call"`
	Send    json.RawMessage   `json:"send"`
	Collect string            `json:"collect"`
	Expect  any               `json:"expect"`
	Refused any               `json:"refused"`
	Keep    map[string]string `json:"keep"`
}

// play plays a conversation with the server, in a project that only it uses.
func play(connection *grpc.ClientConn, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var conversation struct {
		Steps []json.RawMessage `json:"steps"`
	}
	if err := json.Unmarshal(text, &conversation); err != nil {
		return err
	}
	variables := map[string]string{"project": "polyglot/go-" + newID()}
	for _, raw := range conversation.Steps {
		next := step{Service: "FeedbackService"}
		if err := json.Unmarshal(substitute(raw, variables), &next); err != nil {
			return err
		}
		if err := next.play(connection, variables); err != nil {
			return fmt.Errorf("%s: %w", next.Step, err)
		}
		fmt.Println("ok:", next.Step)
	}
	fmt.Println(len(conversation.Steps), "steps, all as expected")
	return nil
}

var variable = regexp.MustCompile(`\$\{([\w.]+)\}`)

// substitute replaces variables by their values; one named id.… is a new UUIDv7 at its first use.
func substitute(text []byte, variables map[string]string) []byte {
	return variable.ReplaceAllFunc(text, func(found []byte) []byte {
		name := string(variable.FindSubmatch(found)[1])
		if _, known := variables[name]; !known && strings.HasPrefix(name, "id.") {
			variables[name] = newID()
		}
		return []byte(variables[name])
	})
}

func (s step) play(connection *grpc.ClientConn, variables map[string]string) error {
	answer, err := s.call(connection)
	expected := s.Expect
	if s.Refused != nil {
		if err == nil {
			return fmt.Errorf("expected a refusal, got %v", answer)
		}
		expected, answer = s.Refused, asJSON(explain(status.Convert(err)))
	} else if err != nil {
		return err
	}
	if err := difference(expected, answer, "answer"); err != nil {
		return err
	}
	for name, path := range s.Keep {
		variables[name] = at(answer, path).(string)
	}
	return nil
}

// call sends the step's messages through a stream; gRPC makes every call as a stream.
func (s step) call(connection *grpc.ClientConn) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	service, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("plaudit.v1." + s.Service))
	if err != nil {
		return nil, err
	}
	method := service.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(s.Call))
	if !method.IsStreamingServer() {
		request, response := newMessage(method.Input()), newMessage(method.Output())
		if err := protojson.Unmarshal(s.Send, request); err != nil {
			return nil, err
		}
		if err := connection.Invoke(ctx, s.path(), request, response); err != nil {
			return nil, err
		}
		return toJSON(response), nil
	}

	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: method.IsStreamingClient()}, s.path())
	if err != nil {
		return nil, err
	}
	messages := []json.RawMessage{s.Send}
	if method.IsStreamingClient() {
		messages = nil
		if err := json.Unmarshal(s.Send, &messages); err != nil {
			return nil, err
		}
	}
	for _, message := range messages {
		request := newMessage(method.Input())
		if err := protojson.Unmarshal(message, request); err != nil {
			return nil, err
		}
		// io.EOF means that the server has ended the stream; receiving gives the reason.
		if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	wanted, _ := s.Expect.([]any)
	answer := []any{}
	for s.Collect == "" || len(answer) < max(1, len(wanted)) {
		response := newMessage(method.Output())
		err := stream.RecvMsg(response)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		if s.Collect == "" {
			answer = append(answer, toJSON(response))
		} else if elements, some := toJSON(response).(map[string]any)[s.Collect].([]any); some {
			answer = append(answer, elements...)
		}
	}
	return answer, nil
}

func (s step) path() string {
	return "/plaudit.v1." + s.Service + "/" + s.Call
}

func newMessage(descriptor protoreflect.MessageDescriptor) proto.Message {
	messageType, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.FullName())
	if err != nil {
		panic(err)
	}
	return messageType.New().Interface()
}

// toJSON converts a message by the JSON mapping; the statuses of single records become refusals.
func toJSON(message proto.Message) any {
	text, err := protojson.Marshal(message)
	if err != nil {
		panic(err)
	}
	var answer any
	if err := json.Unmarshal(text, &answer); err != nil {
		panic(err)
	}
	switch message := message.(type) {
	case *plauditv1.BatchCreateFeedbackResponse:
		for n, result := range message.GetResults() {
			if result.GetStatus() != nil {
				at(answer, "results."+strconv.Itoa(n)).(map[string]any)["status"] = asJSON(explain(status.FromProto(result.GetStatus())))
			}
		}
	case *plauditv1.IngestFeedbackResponse:
		for n, rejected := range message.GetRejected() {
			at(answer, "rejected."+strconv.Itoa(n)).(map[string]any)["status"] = asJSON(explain(status.FromProto(rejected.GetStatus())))
		}
	}
	return answer
}

// asJSON converts a refusal to the form that conversations expect.
func asJSON(from refusal) any {
	text, err := json.Marshal(struct {
		Code string `json:"code"`
		refusal
	}{codeNames[from.Code], from})
	if err != nil {
		panic(err)
	}
	var answer any
	if err := json.Unmarshal(text, &answer); err != nil {
		panic(err)
	}
	return answer
}

// codeNames are the codes as the protocol spells them; String of Go returns InvalidArgument.
var codeNames = func() map[codes.Code]string {
	names := map[codes.Code]string{}
	for _, name := range []string{"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "ABORTED", "OUT_OF_RANGE",
		"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL"} {
		var code codes.Code
		if err := code.UnmarshalJSON([]byte(strconv.Quote(name))); err != nil {
			panic(err)
		}
		names[code] = name
	}
	return names
}()

// at returns the value at a path such as feedback.0.id.
func at(value any, path string) any {
	for _, part := range strings.Split(path, ".") {
		if list, is := value.([]any); is {
			n, err := strconv.Atoi(part)
			if err != nil {
				panic(err)
			}
			value = list[n]
		} else {
			value = value.(map[string]any)[part]
		}
	}
	return value
}

// difference returns where an answer is not as expected: null means absent, "*" anything; other keys are allowed.
func difference(expected, actual any, path string) error {
	wrong := fmt.Errorf("%s: expected %v, got %v", path, expected, actual)
	switch expected := expected.(type) {
	case string:
		if expected == "*" && actual != nil {
			return nil
		}
	case map[string]any:
		fields, is := actual.(map[string]any)
		if !is {
			return wrong
		}
		for key, value := range expected {
			if err := difference(value, fields[key], path+"."+key); err != nil {
				return err
			}
		}
		return nil
	case []any:
		list, is := actual.([]any)
		if !is || len(list) != len(expected) {
			return wrong
		}
		for n, value := range expected {
			if err := difference(value, list[n], path+"."+strconv.Itoa(n)); err != nil {
				return err
			}
		}
		return nil
	}
	if reflect.DeepEqual(expected, actual) {
		return nil
	}
	return wrong
}
