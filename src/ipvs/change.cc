// SPDX-License-Identifier: Apache-2.0
#include "ipvs/change.h"

#include <fmt/format.h>

namespace sluice::ipvs {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};

}  // namespace

const VirtualServerKey& virtual_server_of(const Change& change) {
  struct Key {
    const VirtualServerKey& operator()(const AddVirtualServer& c) const { return c.server.key; }
    const VirtualServerKey& operator()(const EditVirtualServer& c) const { return c.server.key; }
    const VirtualServerKey& operator()(const RemoveVirtualServer& c) const { return c.key; }
    const VirtualServerKey& operator()(const AddRealServer& c) const { return c.to; }
    const VirtualServerKey& operator()(const EditRealServer& c) const { return c.of; }
    const VirtualServerKey& operator()(const RemoveRealServer& c) const { return c.from; }
  };
  return std::visit(Key{}, change);
}

VirtualServer* settings_in(Change& change) {
  if (auto* add = std::get_if<AddVirtualServer>(&change)) return &add->server;
  if (auto* edit = std::get_if<EditVirtualServer>(&change)) return &edit->server;
  return nullptr;
}

const VirtualServer* settings_in(const Change& change) {
  if (const auto* add = std::get_if<AddVirtualServer>(&change)) return &add->server;
  if (const auto* edit = std::get_if<EditVirtualServer>(&change)) return &edit->server;
  return nullptr;
}

std::string to_string(const Change& change) {
  return std::visit(Overloaded{
                        [](const AddVirtualServer& c) { return fmt::format("add {}", to_string(c.server.key)); },
                        [](const EditVirtualServer& c) { return fmt::format("edit {}", to_string(c.server.key)); },
                        [](const RemoveVirtualServer& c) { return fmt::format("remove {}", to_string(c.key)); },
                        [](const AddRealServer& c) {
                          return fmt::format("add real server {} to {}", to_string(c.server.key), to_string(c.to));
                        },
                        [](const EditRealServer& c) {
                          return fmt::format("edit real server {} of {}", to_string(c.server.key), to_string(c.of));
                        },
                        [](const RemoveRealServer& c) {
                          return fmt::format("remove real server {} from {}", to_string(c.key), to_string(c.from));
                        },
                    },
                    change);
}

}  // namespace sluice::ipvs
