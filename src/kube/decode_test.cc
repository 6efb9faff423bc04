// SPDX-License-Identifier: Apache-2.0
#include "kube/decode.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::kube {
namespace {

using testing::ElementsAre;

template <typename T>
T decoded(const std::string& json) {
  Decoder decoder;
  const auto result = decoder.decode(json, "");
  if (!result) {
    ADD_FAILURE() << result.error().what;
    return {};
  }
  if (!result->problems.empty())
    ADD_FAILURE() << result->problems.front().path << ": " << result->problems.front().text;
  if (const auto* object = std::get_if<T>(&result->object)) return *object;
  ADD_FAILURE() << "another kind of object";
  return {};
}

// "path: text" of the first fault and of every note.
std::string complaints(const std::string& json) {
  Decoder decoder;
  const auto result = decoder.decode(json, "");
  if (!result) return result.error().what;
  std::string text;
  for (const auto* list : {&result->problems, &result->notes}) {
    for (const FieldProblem& problem : *list)
      text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", problem.path, problem.text);
  }
  return text;
}

std::string text(const std::vector<IpAddress>& addresses) {
  std::string joined;
  for (const IpAddress& address : addresses) joined += (joined.empty() ? "" : " ") + address.to_string();
  return joined;
}

TEST(DecodeService, KeepsEverythingThatDecidesForwarding) {
  const auto service = decoded<model::Service>(R"({"apiVersion":"v1","kind":"Service",
    "metadata":{"name":"web","namespace":"shop","annotations":{"sluice.dev/scheduler":"wlc","other":"x"},"unknown":[1]},
    "spec":{"type":"LoadBalancer","clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1","fd00::1"],
      "ports":[{"name":"http","port":80,"targetPort":"named","nodePort":30080},{"name":"dns","protocol":"UDP","port":53}],
      "externalIPs":["203.0.113.1"],"loadBalancerSourceRanges":["198.51.100.0/24"," 2001:db8::/32 "],
      "sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":600}},
      "externalTrafficPolicy":"Local","internalTrafficPolicy":"Local","healthCheckNodePort":32000},
    "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.9"},{"ip":"203.0.113.10","ipMode":"Proxy"},{"hostname":"lb.example"}]}}})");
  EXPECT_EQ(service.key.to_string(), "shop/web");
  EXPECT_EQ(service.type, model::ServiceType::kLoadBalancer);
  EXPECT_EQ(text(service.cluster_ips), "10.96.0.1 fd00::1");
  ASSERT_EQ(service.ports.size(), 2U);
  EXPECT_EQ(service.ports[0].node_port, 30080);
  EXPECT_EQ(service.ports[1].protocol, Protocol::kUdp);
  EXPECT_EQ(text(service.external_ips), "203.0.113.1");
  EXPECT_EQ(service.source_ranges.size(), 2U);
  EXPECT_EQ(service.affinity_seconds, 600U);
  EXPECT_EQ(service.external_traffic_policy, model::TrafficPolicy::kLocal);
  EXPECT_EQ(service.internal_traffic_policy, model::TrafficPolicy::kLocal);
  EXPECT_EQ(service.health_check_node_port, 32000);
  ASSERT_EQ(service.ingress.size(), 2U);
  EXPECT_EQ(service.ingress[1].ip_mode, model::IpMode::kProxy);
  EXPECT_THAT(service.sluice_annotations, ElementsAre(testing::Pair("sluice.dev/scheduler", "wlc")));
}

TEST(DecodeService, OldServersKnowOneClusterIpAndAffinityHasADefaultTimeout) {
  const auto service = decoded<model::Service>(
      R"({"kind":"Service","metadata":{"name":"web","namespace":"shop","labels":{"service.kubernetes.io/service-proxy-name":""}},
          "spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}],"sessionAffinity":"ClientIP"}})");
  EXPECT_EQ(text(service.cluster_ips), "10.96.0.1");
  EXPECT_EQ(service.affinity_seconds, 10800U);
  EXPECT_TRUE(service.other_proxy);
  EXPECT_TRUE(decoded<model::Service>(
                  R"({"kind":"Service","metadata":{"name":"w","namespace":"s"},"spec":{"clusterIP":"None"}})")
                  .headless);
}

TEST(DecodeSlice, ConditionsHintsAndPlacesOfBothVersions) {
  const auto slice = decoded<model::EndpointSlice>(R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",
    "metadata":{"name":"web-x","namespace":"shop","labels":{"kubernetes.io/service-name":"web"},
      "annotations":{"sluice.dev/weight":"zone/east=3,*=2","endpoints.kubernetes.io/last-change-trigger-time":"2026-11-23T00:00:01Z"}},
    "addressType":"IPv4","ports":[{"name":"http","port":8080}],
    "endpoints":[
      {"addresses":["10.1.0.1"],"nodeName":"a","zone":"east","hints":{"forZones":[{"name":"east"}],"forNodes":[{"name":"a"}]}},
      {"addresses":["10.1.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true}},
      {"addresses":["10.1.0.3"],"conditions":{"ready":null}}]})");
  EXPECT_EQ(slice.service_name, "web");
  EXPECT_NE(slice.last_change_trigger_ns, 0);
  ASSERT_EQ(slice.endpoints.size(), 3U);
  EXPECT_THAT(slice.endpoints[0].zone_hints, ElementsAre("east"));
  EXPECT_THAT(slice.endpoints[0].node_hints, ElementsAre("a"));
  EXPECT_EQ(slice.endpoints[0].weight, 3);
  EXPECT_EQ(slice.endpoints[1].weight, 2);
  EXPECT_TRUE(!slice.endpoints[1].ready && slice.endpoints[1].serving && slice.endpoints[1].terminating);
  EXPECT_TRUE(slice.endpoints[2].ready) << "an absent condition is true";

  const auto old = decoded<model::EndpointSlice>(R"({"apiVersion":"discovery.k8s.io/v1beta1","kind":"EndpointSlice",
    "metadata":{"name":"web-x","namespace":"shop","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv6","ports":[{"port":80}],
    "endpoints":[{"addresses":["fd00::1"],"topology":{"kubernetes.io/hostname":"b","topology.kubernetes.io/zone":"west"}}]})");
  ASSERT_EQ(old.endpoints.size(), 1U);
  EXPECT_EQ(old.endpoints[0].node_name, "b");
  EXPECT_EQ(old.endpoints[0].zone, "west");
  EXPECT_FALSE(old.endpoints[0].weight);
}

TEST(DecodeNode, AddressesCidrsTaintsAndLabels) {
  const auto node = decoded<model::Node>(
      R"({"kind":"Node","metadata":{"name":"a","uid":"u-1","labels":{"topology.kubernetes.io/zone":"east"},
      "deletionTimestamp":"2026-11-23T00:00:01Z"},
    "spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24","fd00:1::/64"],"taints":[{"key":"drain","effect":"NoSchedule"}]},
    "status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"},{"type":"Hostname","address":"a"},{"type":"ExternalIP","address":"203.0.113.1"}]}})");
  EXPECT_EQ(text(node.internal_ips), "192.0.2.1");
  EXPECT_EQ(text(node.external_ips), "203.0.113.1");
  EXPECT_EQ(node.pod_cidrs.size(), 2U);
  EXPECT_THAT(node.taint_keys, ElementsAre("drain"));
  EXPECT_TRUE(node.deleting);
  EXPECT_EQ(node.uid, "u-1");
}

TEST(Decode, AFaultNamesItsFieldAndAnOddityIsNoted) {
  const auto with = [](const char* spec) {
    return fmt::format(R"({{"kind":"Service","metadata":{{"name":"w","namespace":"s"}},"spec":{}}})", spec);
  };
  EXPECT_EQ(complaints(with(R"({"clusterIP":"10.96.0.1","ports":[{"port":80},{"port":70000}]})")),
            "spec.ports[1].port: 70000 is not between 1 and 65535");
  EXPECT_EQ(complaints(with(R"({"clusterIP":"10.96.0.1","ports":{}})")), "spec.ports: must be a list");
  EXPECT_THAT(complaints(with(R"({"clusterIP":"10.96.0.1","ports":[{"port":80,"protocol":"ICMP"}]})")),
              testing::StartsWith("spec.ports[0].protocol: "));
  EXPECT_THAT(complaints(with(R"({"clusterIP":"10.96.0.1","ports":[{"port":80}],"externalIPs":["nowhere"]})")),
              testing::StartsWith("spec.externalIPs[0]: "));
  EXPECT_EQ(complaints(with(R"({"clusterIP":"10.96.0.1","ports":[{"port":80}],"loadBalancerSourceRanges":["x"]})")),
            "spec.loadBalancerSourceRanges[0]: 'x' is no CIDR, ignored");
  EXPECT_EQ(
      complaints(
          R"({"kind":"Service","metadata":{"name":"w","namespace":"s","annotations":{"sluice.dev/weight":"heavy"}},"spec":{"clusterIP":"None"}})"),
      "metadata.annotations[sluice.dev/weight]: 'heavy' is no weight (0 to 65535), ignored");
  EXPECT_EQ(
      complaints(
          R"({"kind":"EndpointSlice","metadata":{"name":"w","namespace":"s","labels":{"kubernetes.io/service-name":"w"}},"addressType":"MAC"})"),
      "addressType: unknown address type 'MAC'");
  EXPECT_NE(complaints("[]"), "");
  EXPECT_NE(complaints("{"), "");
}

TEST(Decode, WatchEventsAndListsAreTakenApart) {
  Decoder decoder;
  const auto event = decoder.split_watch_event(R"({"type":"ADDED","object":{"kind":"Service","x":{"y":"}"}}})");
  ASSERT_TRUE(event) << event.error().what;
  EXPECT_EQ(event->type, "ADDED");
  EXPECT_EQ(event->object, R"({"kind":"Service","x":{"y":"}"}})");
  EXPECT_FALSE(decoder.split_watch_event(R"({"object":{}})"));
  const auto list = decoder.decode_list_metadata(
      R"({"kind":"ServiceList","metadata":{"resourceVersion":"7","continue":"more"},"items":[]})");
  ASSERT_TRUE(list);
  EXPECT_EQ(list->resource_version + " " + list->continue_token, "7 more");
  const auto status = decoder.decode_list_metadata(R"({"kind":"Status","code":410,"message":"too old"})");
  ASSERT_TRUE(status);
  EXPECT_EQ(status->status_code, 410);
  EXPECT_EQ(status->status_message, "too old");
}

}  // namespace
}  // namespace sluice::kube
