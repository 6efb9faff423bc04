// SPDX-License-Identifier: Apache-2.0
// The attributes of a netlink message, one after the other. libmnl's own loop macros do not compile as C++ (they assign
// void pointers).
#pragma once

#include <libmnl/libmnl.h>

#include <cstddef>

namespace sluice::sys {

// Calls body(const nlattr*) for each; stops at the first that does not fit into `length` bytes.
template <typename Body>
void for_each_attribute(const void* payload, std::size_t length, Body body) {
  const auto* attribute = static_cast<const nlattr*>(payload);
  auto left = static_cast<int>(length);
  while (mnl_attr_ok(attribute, left)) {
    body(attribute);
    left -= static_cast<int>(MNL_ALIGN(attribute->nla_len));
    attribute = mnl_attr_next(attribute);
  }
}

// The same for the attributes nested in one.
template <typename Body>
void for_each_nested(const nlattr* attribute, Body body) {
  for_each_attribute(mnl_attr_get_payload(attribute), mnl_attr_get_payload_len(attribute), body);
}

}  // namespace sluice::sys
