// SPDX-License-Identifier: Apache-2.0
// Objects come from API servers of ten releases and from users' files. Three kinds of fault are distinguished: what
// Kubernetes itself tolerates (an external IP that does not parse: noted, skipped), what makes one object unusable (a
// port of 70000: that object is refused, its last good version stays), and what is not an object at all. Conditions
// that are absent are not false: ready and serving default to true, terminating to false (discovery/v1
// EndpointConditions).
#include "kube/decode.h"

#include <algorithm>
#include <ctime>

#include "kube/json_reader.h"
#include "model/weights.h"

namespace sluice::kube {
namespace {

using Element = JsonReader::Element;

constexpr std::string_view kProxyNameLabel = "service.kubernetes.io/service-proxy-name";
constexpr std::string_view kHeadlessLabel = "service.kubernetes.io/headless";
constexpr std::string_view kServiceNameLabel = "kubernetes.io/service-name";
constexpr std::string_view kHostnameLabel = "kubernetes.io/hostname";
constexpr std::string_view kTriggerTimeAnnotation = "endpoints.kubernetes.io/last-change-trigger-time";
constexpr std::string_view kOwnAnnotationPrefix = "sluice.dev/";
constexpr std::uint32_t kAffinitySecondsDefault = 10800;
constexpr std::uint32_t kAffinitySecondsMax = 86400;
constexpr std::int64_t kPortMax = 65535;
constexpr std::int64_t kTimestampSecondsMax = 9'000'000'000;  // in the year 2255; as nanoseconds they fit 63 bits

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

Protocol read_protocol(JsonReader& reader, const Element& object, const std::string& path) {
  const std::string text = reader.text(object, path, "protocol");
  if (text.empty()) return Protocol::kTcp;
  const auto protocol = parse_protocol(text);
  if (!protocol)
    reader.fail(path + ".protocol", fmt::format("unknown protocol '{}': TCP, UDP and SCTP are supported", text));
  return protocol.value_or(Protocol::kTcp);
}

template <typename Value>
struct Choice {
  std::string_view text;
  Value value;
};

// An enumeration spelt as text; absent or empty is the first choice.
template <typename Value, std::size_t N>
Value read_choice(JsonReader& reader, const Element& object, const std::string& path, std::string_view key,
                  const Choice<Value> (&choices)[N]) {
  const std::string text = reader.text(object, path, key);
  if (text.empty()) return choices[0].value;
  for (const auto& choice : choices) {
    if (choice.text == text) return choice.value;
  }
  reader.fail(JsonReader::join(path, key), fmt::format("unknown value '{}'", text));
  return choices[0].value;
}

std::optional<IpAddress> read_address(JsonReader& reader, std::string_view text, const std::string& path,
                                      const char* what) {
  const auto address = IpAddress::parse(text);
  if (!address) reader.note(path, fmt::format("'{}' is not an {}, ignored", text, what));
  return address;
}

void read_ports(JsonReader& reader, const Element& spec, model::Service& service) {
  reader.each_object(spec, "spec", "ports", [&](const Element& entry, const std::string& path) {
    model::ServicePort port;
    port.name = reader.text(entry, path, "name");
    port.protocol = read_protocol(reader, entry, path);
    const auto number = reader.integer(entry, path, "port", 1, kPortMax);
    if (!number && !reader.failed()) reader.fail(path + ".port", "is required");
    port.port = static_cast<std::uint16_t>(number.value_or(0));
    port.node_port = static_cast<std::uint16_t>(reader.integer(entry, path, "nodePort", 0, kPortMax).value_or(0));
    service.ports.push_back(std::move(port));
  });
  service.ports.shrink_to_fit();
}

void read_cluster_ips(JsonReader& reader, const Element& spec, model::Service& service) {
  const std::string single = reader.text(spec, "spec", "clusterIP");
  std::vector<std::string> texts;
  reader.each_text(spec, "spec", "clusterIPs",
                   [&](std::string_view text, const std::string&) { texts.emplace_back(text); });
  if (texts.empty() && !single.empty()) texts.push_back(single);
  if (single == "None" || (!texts.empty() && texts.front() == "None")) {
    service.headless = true;
    return;
  }
  // Of a Service that was made single-stack, clusterIPs may still hold the other family's address.
  std::vector<std::string> families;
  reader.each_text(spec, "spec", "ipFamilies",
                   [&](std::string_view text, const std::string&) { families.emplace_back(text); });
  const auto wanted = [&families](Family family) {
    const std::string_view name = family == Family::kIPv4 ? "IPv4" : "IPv6";
    return families.empty() || std::find(families.begin(), families.end(), name) != families.end();
  };
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty()) continue;
    const auto address = IpAddress::parse(texts[i]);
    if (!address)
      return reader.fail(fmt::format("spec.clusterIPs[{}]", i), fmt::format("'{}' is not an IP address", texts[i]));
    const bool second = std::any_of(service.cluster_ips.begin(), service.cluster_ips.end(),
                                    [&](const IpAddress& a) { return a.family() == address->family(); });
    if (!second && wanted(address->family())) service.cluster_ips.push_back(*address);
  }
}

void read_affinity(JsonReader& reader, const Element& spec, model::Service& service) {
  enum class Affinity { kNone, kClientIp };
  static constexpr Choice<Affinity> kChoices[] = {{"None", Affinity::kNone}, {"ClientIP", Affinity::kClientIp}};
  if (read_choice(reader, spec, "spec", "sessionAffinity", kChoices) == Affinity::kNone) return;
  service.affinity_seconds = kAffinitySecondsDefault;
  const auto config = reader.object(spec, "spec", "sessionAffinityConfig");
  const auto client_ip = config ? reader.object(*config, "spec.sessionAffinityConfig", "clientIP") : std::nullopt;
  if (!client_ip) return;
  const auto seconds =
      reader.integer(*client_ip, "spec.sessionAffinityConfig.clientIP", "timeoutSeconds", 1, kAffinitySecondsMax);
  if (seconds) service.affinity_seconds = static_cast<std::uint32_t>(*seconds);
}

void read_external(JsonReader& reader, const Element& root, const Element& spec, model::Service& service) {
  reader.each_text(spec, "spec", "externalIPs", [&](std::string_view text, const std::string& path) {
    service.has_external_ips = true;
    if (trimmed(text).empty()) return;  // no address was meant
    if (const auto address = read_address(reader, text, path, "IP address")) service.external_ips.push_back(*address);
  });
  reader.each_text(spec, "spec", "loadBalancerSourceRanges", [&](std::string_view text, const std::string& path) {
    const auto range = Cidr::parse(trimmed(text));
    if (!range) return reader.note(path, fmt::format("'{}' is not a CIDR, ignored", text));
    service.source_ranges.push_back(*range);
  });
  const auto status = reader.object(root, "", "status");
  const auto balancer = status ? reader.object(*status, "status", "loadBalancer") : std::nullopt;
  if (!balancer) return;
  reader.each_object(*balancer, "status.loadBalancer", "ingress", [&](const Element& entry, const std::string& path) {
    const std::string ip = reader.text(entry, path, "ip");
    const std::string mode = reader.text(entry, path, "ipMode");
    if (ip.empty()) return;
    // Written by a cloud's controller, which may be newer than we are: packets to such an address do not necessarily
    // arrive here unchanged, and the Service's other addresses work as before.
    if (!mode.empty() && mode != "VIP" && mode != "Proxy")
      return reader.note(path + ".ipMode", fmt::format("unknown value '{}', the address is ignored", mode));
    if (const auto address = read_address(reader, ip, path + ".ip", "IP address"))
      service.ingress.push_back({*address, mode == "Proxy" ? model::IpMode::kProxy : model::IpMode::kVip});
  });
}

std::optional<model::Weights> read_weights(JsonReader& reader, std::string_view text) {
  auto weights = model::Weights::parse(text);
  if (weights) return *std::move(weights);
  reader.note(fmt::format("metadata.annotations[{}]", model::kWeightAnnotation), weights.error().what + ", ignored");
  return std::nullopt;
}

// RFC 3339 with up to nine digits of fraction, as Go writes it; 0 if it is anything else.
std::int64_t parse_timestamp(std::string_view text) {
  std::tm time{};
  int offset_hours = 0;
  int offset_minutes = 0;
  const std::string copy(text);
  const char* rest = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &time);
  if (rest == nullptr) return 0;
  std::int64_t nanoseconds = 0;
  if (*rest == '.') {
    std::int64_t scale = 100000000;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, scale /= 10) nanoseconds += (*rest - '0') * scale;
  }
  if (*rest == '+' || *rest == '-') {
    const int sign = *rest == '-' ? -1 : 1;
    if (std::sscanf(rest + 1, "%2d:%2d", &offset_hours, &offset_minutes) != 2) return 0;
    offset_hours *= sign;
    offset_minutes *= sign;
  } else if (*rest != 'Z') {
    return 0;
  }
  const std::int64_t seconds = ::timegm(&time) - (offset_hours * 60L + offset_minutes) * 60L;
  if (seconds < 0 || seconds > kTimestampSecondsMax) return 0;
  return seconds * 1000000000 + nanoseconds;
}

// It is often missing in a file, so an unreadable one costs the object nothing else.
std::int64_t read_created(JsonReader& reader, const Element& metadata) {
  const auto field = reader.field(metadata, "creationTimestamp");
  if (!field) return model::kCreatedUnknown;
  std::string_view text;
  const std::int64_t created = field->get(text) == simdjson::SUCCESS ? parse_timestamp(text) : 0;
  if (created != 0) return created;
  reader.note("metadata.creationTimestamp", "is not a time, ignored");
  return model::kCreatedUnknown;
}

model::Service read_service(JsonReader& reader, const Element& root, const Metadata& metadata) {
  model::Service service;
  service.key = metadata.key;
  if (const auto meta = reader.object(root, "", "metadata")) {
    reader.each_pair(*meta, "metadata", "labels", [&](std::string_view key, std::string_view) {
      service.other_proxy = service.other_proxy || key == kProxyNameLabel;
    });
    reader.each_pair(*meta, "metadata", "annotations", [&](std::string_view key, std::string_view value) {
      if (key.substr(0, kOwnAnnotationPrefix.size()) == kOwnAnnotationPrefix)
        service.sluice_annotations.emplace(key, value);
      if (key == model::kWeightAnnotation) read_weights(reader, value);
    });
    service.created = read_created(reader, *meta);
  }
  const auto spec = reader.object(root, "", "spec");
  if (!spec) {
    reader.fail("spec", "is required");
    return service;
  }
  static constexpr Choice<model::ServiceType> kTypes[] = {{"ClusterIP", model::ServiceType::kClusterIp},
                                                          {"NodePort", model::ServiceType::kNodePort},
                                                          {"LoadBalancer", model::ServiceType::kLoadBalancer},
                                                          {"ExternalName", model::ServiceType::kExternalName}};
  static constexpr Choice<model::TrafficPolicy> kPolicies[] = {{"Cluster", model::TrafficPolicy::kCluster},
                                                               {"Local", model::TrafficPolicy::kLocal}};
  service.type = read_choice(reader, *spec, "spec", "type", kTypes);
  service.external_traffic_policy = read_choice(reader, *spec, "spec", "externalTrafficPolicy", kPolicies);
  service.internal_traffic_policy = read_choice(reader, *spec, "spec", "internalTrafficPolicy", kPolicies);
  service.health_check_node_port =
      static_cast<std::uint16_t>(reader.integer(*spec, "spec", "healthCheckNodePort", 0, kPortMax).value_or(0));
  // What is not proxied need not be valid as a proxied Service: an ExternalName Service may carry anything.
  if (service.type == model::ServiceType::kExternalName) return service;
  read_cluster_ips(reader, *spec, service);
  read_ports(reader, *spec, service);
  read_affinity(reader, *spec, service);
  read_external(reader, root, *spec, service);
  return service;
}

void read_slice_ports(JsonReader& reader, const Element& root, model::EndpointSlice& slice) {
  reader.each_object(root, "", "ports", [&](const Element& entry, const std::string& path) {
    model::EndpointPort port;
    port.name = reader.text(entry, path, "name");
    port.protocol = read_protocol(reader, entry, path);
    const auto number = reader.integer(entry, path, "port", 0, kPortMax);
    if (!number || *number == 0)
      return reader.note(path, fmt::format("has no port number between 1 and {}, ignored", kPortMax));
    port.port = static_cast<std::uint16_t>(*number);
    slice.ports.push_back(std::move(port));
  });
  slice.ports.shrink_to_fit();
}

void read_hints(JsonReader& reader, const Element& entry, const std::string& path, model::Endpoint& endpoint) {
  const auto hints = reader.object(entry, path, "hints");
  if (!hints) return;
  reader.each_object(*hints, path + ".hints", "forZones", [&](const Element& zone, const std::string& p) {
    endpoint.zone_hints.push_back(reader.text(zone, p, "name"));
  });
  reader.each_object(*hints, path + ".hints", "forNodes", [&](const Element& node, const std::string& p) {
    endpoint.node_hints.push_back(reader.text(node, p, "name"));
  });
}

void read_endpoints(JsonReader& reader, const Element& root, const std::optional<model::Weights>& weights,
                    model::EndpointSlice& slice) {
  reader.each_object(root, "", "endpoints", [&](const Element& entry, const std::string& path) {
    model::Endpoint endpoint;
    std::string first;
    reader.each_text(entry, path, "addresses", [&](std::string_view text, const std::string&) {
      if (first.empty()) first = text;
    });
    if (first.empty()) return reader.note(path, "has no address, ignored");
    const auto address = read_address(reader, first, path + ".addresses[0]", "IP address");
    if (!address) return;
    if (address->family() != slice.family)
      return reader.note(path + ".addresses[0]",
                         fmt::format("'{}' is not of the slice's address type, ignored", first));
    endpoint.address = *address;
    if (const auto conditions = reader.object(entry, path, "conditions")) {
      const std::string here = path + ".conditions";
      endpoint.ready = reader.boolean(*conditions, here, "ready").value_or(true);
      endpoint.serving = reader.boolean(*conditions, here, "serving").value_or(true);
      endpoint.terminating = reader.boolean(*conditions, here, "terminating").value_or(false);
    }
    endpoint.node_name = reader.text(entry, path, "nodeName");
    if (endpoint.node_name.empty()) {
      // v1beta1 has the node in a map.
      reader.each_pair(entry, path, "topology", [&](std::string_view key, std::string_view value) {
        if (key == kHostnameLabel) endpoint.node_name = value;
      });
    }
    endpoint.zone = reader.text(entry, path, "zone");
    if (endpoint.zone.empty()) {
      reader.each_pair(entry, path, "topology", [&](std::string_view key, std::string_view value) {
        if (key == model::kZoneLabel) endpoint.zone = value;
      });
    }
    if (weights) endpoint.weight = weights->of(endpoint.address, endpoint.node_name, endpoint.zone);
    read_hints(reader, entry, path, endpoint);
    slice.endpoints.push_back(std::move(endpoint));
  });
  slice.endpoints.shrink_to_fit();
}

// Nothing if the slice must be treated as absent.
std::optional<model::EndpointSlice> read_slice(JsonReader& reader, const Element& root, const Metadata& metadata) {
  model::EndpointSlice slice;
  slice.key = metadata.key;
  bool headless = false;
  std::optional<model::Weights> weights;
  if (const auto meta = reader.object(root, "", "metadata")) {
    reader.each_pair(*meta, "metadata", "labels", [&](std::string_view key, std::string_view value) {
      if (key == kServiceNameLabel) slice.service_name = value;
      headless = headless || key == kHeadlessLabel;
    });
    reader.each_pair(*meta, "metadata", "annotations", [&](std::string_view key, std::string_view value) {
      if (key == kTriggerTimeAnnotation) slice.last_change_trigger_ns = parse_timestamp(value);
      if (key == model::kWeightAnnotation) weights = read_weights(reader, value);
    });
  }
  if (headless) return std::nullopt;
  const std::string type = reader.text(root, "", "addressType");
  if (type == "FQDN") {
    reader.note("addressType", "FQDN is not supported, the slice is ignored");
    return std::nullopt;
  }
  if (type != "IPv4" && type != "IPv6") {
    reader.fail("addressType", fmt::format("unknown address type '{}'", type));
    return std::nullopt;
  }
  slice.family = type == "IPv4" ? Family::kIPv4 : Family::kIPv6;
  read_slice_ports(reader, root, slice);
  read_endpoints(reader, root, weights, slice);
  return slice;
}

void read_pod_cidrs(JsonReader& reader, const Element& spec, model::Node& node) {
  const auto add = [&](std::string_view text, const std::string& path) {
    const auto cidr = Cidr::parse(text);
    if (!cidr) return reader.note(path, fmt::format("'{}' is not a CIDR, ignored", text));
    node.pod_cidrs.push_back(*cidr);
  };
  reader.each_text(spec, "spec", "podCIDRs", add);
  const std::string single = reader.text(spec, "spec", "podCIDR");
  if (node.pod_cidrs.empty() && !single.empty()) add(single, "spec.podCIDR");
}

model::Node read_node(JsonReader& reader, const Element& root, const Metadata& metadata) {
  model::Node node;
  node.name = metadata.key.name;
  if (const auto meta = reader.object(root, "", "metadata")) {
    reader.each_pair(*meta, "metadata", "labels",
                     [&](std::string_view key, std::string_view value) { node.labels.emplace(key, value); });
    node.deleting = !reader.text(*meta, "metadata", "deletionTimestamp").empty();
    node.uid = reader.text(*meta, "metadata", "uid");
  }
  if (const auto spec = reader.object(root, "", "spec")) {
    read_pod_cidrs(reader, *spec, node);
    reader.each_object(*spec, "spec", "taints", [&](const Element& taint, const std::string& path) {
      node.taint_keys.push_back(reader.text(taint, path, "key"));
    });
  }
  if (const auto status = reader.object(root, "", "status")) {
    reader.each_object(*status, "status", "addresses", [&](const Element& entry, const std::string& path) {
      const std::string type = reader.text(entry, path, "type");
      if (type != "InternalIP" && type != "ExternalIP") return;
      const auto address = read_address(reader, reader.text(entry, path, "address"), path + ".address", "IP address");
      if (address) (type == "InternalIP" ? node.internal_ips : node.external_ips).push_back(*address);
    });
  }
  return node;
}

Metadata read_metadata(JsonReader& reader, const Element& root) {
  Metadata metadata;
  metadata.kind = reader.text(root, "", "kind");
  metadata.api_version = reader.text(root, "", "apiVersion");
  if (const auto meta = reader.object(root, "", "metadata")) {
    metadata.key = {reader.text(*meta, "metadata", "namespace"), reader.text(*meta, "metadata", "name")};
    metadata.resource_version = reader.text(*meta, "metadata", "resourceVersion");
  }
  return metadata;
}

}  // namespace

struct Decoder::Impl {
  simdjson::dom::parser parser;
  std::string event_object;

  Result<Element> parse(std::string_view json) {
    Element root;
    switch (const auto error = parser.parse(json.data(), json.size(), true).get(root); error) {
      case simdjson::SUCCESS:
        break;
      case simdjson::DEPTH_ERROR:
        return sluice::fail(Errc::kInvalid, fmt::format("nested deeper than {} levels", parser.max_depth()));
      case simdjson::UTF8_ERROR:
        return sluice::fail(Errc::kInvalid, "a text that is not UTF-8");
      default:
        return sluice::fail(Errc::kInvalid, fmt::format("not JSON: {}", simdjson::error_message(error)));
    }
    if (!root.is_object()) return sluice::fail(Errc::kInvalid, "not a JSON object");
    return root;
  }
};

Decoder::Decoder() : impl_(std::make_unique<Impl>()) {}
Decoder::~Decoder() = default;

Result<Decoded> Decoder::decode(std::string_view json, std::string_view kind_hint) {
  SLUICE_TRY(const Element root, impl_->parse(json));
  Decoded decoded;
  JsonReader reader(decoded.problems, decoded.notes);
  decoded.metadata = read_metadata(reader, root);
  if (decoded.metadata.kind.empty()) decoded.metadata.kind = kind_hint;
  if (decoded.metadata.key.name.empty()) reader.fail("metadata.name", "is required");
  if (decoded.metadata.kind == "Service") {
    decoded.object = read_service(reader, root, decoded.metadata);
  } else if (decoded.metadata.kind == "EndpointSlice") {
    if (auto slice = read_slice(reader, root, decoded.metadata)) {
      if (slice->service_name.empty()) {
        decoded.warnings.push_back(
            {"metadata.labels", fmt::format("there is no label {}, so it belongs to no Service", kServiceNameLabel)});
      }
      decoded.object = std::move(*slice);
    }
  } else if (decoded.metadata.kind == "Node") {
    decoded.object = read_node(reader, root, decoded.metadata);
  }
  if (!decoded.problems.empty()) decoded.object = std::monostate();
  return decoded;
}

Result<Decoder::WatchEvent> Decoder::split_watch_event(std::string_view json) {
  SLUICE_TRY(const Element root, impl_->parse(json));
  std::string_view type;
  Element object;
  if (root.at_key("type").get(type) != simdjson::SUCCESS || root.at_key("object").get(object) != simdjson::SUCCESS ||
      !object.is_object()) {
    return sluice::fail(Errc::kInvalid, "not a watch event: type and object are required");
  }
  WatchEvent event{std::string(type), {}};
  impl_->event_object = simdjson::minify(object);
  event.object = impl_->event_object;
  return event;
}

Result<Decoder::ListMetadata> Decoder::decode_list_metadata(std::string_view json) {
  SLUICE_TRY(const Element root, impl_->parse(json));
  ListMetadata list;
  std::vector<FieldProblem> problems;
  std::vector<FieldProblem> notes;
  JsonReader reader(problems, notes);
  list.kind = reader.text(root, "", "kind");
  if (const auto meta = reader.object(root, "", "metadata")) {
    list.resource_version = reader.text(*meta, "metadata", "resourceVersion");
    list.continue_token = reader.text(*meta, "metadata", "continue");
  }
  if (list.kind == "Status") {
    list.status_code = static_cast<int>(reader.integer(root, "", "code", 0, 999).value_or(0));
    list.status_message = reader.text(root, "", "message");
  }
  if (!problems.empty())
    return sluice::fail(Errc::kInvalid, fmt::format("{}: {}", problems.front().path, problems.front().text));
  return list;
}

std::string uid_of_first_item(std::string_view list) {
  simdjson::dom::parser parser;
  std::string_view uid;
  const auto found = parser.parse(list.data(), list.size(), true).at_pointer("/items/0/metadata/uid").get(uid);
  return found == simdjson::SUCCESS ? std::string(uid) : std::string();
}

}  // namespace sluice::kube
