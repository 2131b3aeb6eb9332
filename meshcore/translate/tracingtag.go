package translate

import (
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
)

func literalTag(tag, value string) *tracingv3.CustomTag {
	return &tracingv3.CustomTag{
		Tag: tag,
		Type: &tracingv3.CustomTag_Literal_{
			Literal: &tracingv3.CustomTag_Literal{Value: value},
		},
	}
}

// shadowTag reports what a dry-run authorization policy would have done.
func shadowTag(tag, key string) *tracingv3.CustomTag {
	return &tracingv3.CustomTag{
		Tag: tag,
		Type: &tracingv3.CustomTag_Metadata_{Metadata: &tracingv3.CustomTag_Metadata{
			Kind: &metadatav3.MetadataKind{Kind: &metadatav3.MetadataKind_Request_{
				Request: &metadatav3.MetadataKind_Request{},
			}},
			MetadataKey: &metadatav3.MetadataKey{
				Key: "envoy.filters.http.rbac",
				Path: []*metadatav3.MetadataKey_PathSegment{{
					Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: key},
				}},
			},
		}},
	}
}
