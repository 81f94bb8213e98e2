"""Grafana: where its data is (`provisioning/`), and the dashboards, which are made from the table of fields.

A dashboard of Grafana is thousands of lines of JSON in which each query, unit and colour stands in full. Here a panel
is a few lines: it names a table and a field of the contract, and its unit, its description and its query follow. A
panel of a field that does not exist cannot be made.

    overview, host, gpus, alerts    one dashboard each: change panels here
    panels, flux                    what they are made of
    render                          writes dashboards/*.json; part of `make docs`
"""
