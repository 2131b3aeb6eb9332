package engine

import "google.golang.org/protobuf/reflect/protoreflect"

// logFields is what the engine carries out of access logs.
var logFields = map[protoreflect.FullName]fields{
	logPackage + "AccessLog": yes("name", "filter", "typed_config"),
	logPackage + "AccessLogFilter": yes("response_flag_filter", "status_code_filter",
		"duration_filter", "and_filter", "or_filter"),
	logPackage + "ResponseFlagFilter": yes("flags"),
	logPackage + "StatusCodeFilter":   yes("comparison"),
	logPackage + "DurationFilter":     yes("comparison"),
	logPackage + "AndFilter":          yes("filters"),
	logPackage + "OrFilter":           yes("filters"),
	logPackage + "ComparisonFilter":   yes("op", "value"),
	"envoy.config.core.v3.RuntimeUInt32": yes("default_value").
		because("there is no runtime layer", "runtime_key"),
	"envoy.extensions.access_loggers.file.v3.FileAccessLog": yes("path", "format",
		"typed_json_format", "log_format"),
	"envoy.config.core.v3.SubstitutionFormatString": yes("text_format", "text_format_source",
		"json_format", "omit_empty_values", "formatters").
		because("keys are sorted, whatever it says", "json_format_options").
		because("only replies have one", "content_type"),
	"envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery": {},
}

const logPackage = "envoy.config.accesslog.v3."
