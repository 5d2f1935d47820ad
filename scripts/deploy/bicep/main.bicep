// The endpoint in a resource group: both app registrations, the store, the host, and alerts. No client secret anywhere.
targetScope = 'resourceGroup'

@minLength(3)
@maxLength(20)
@description('The name that everything is called after: lower-case letters, digits and hyphens.')
param name string

@description('The region.')
param location string = resourceGroup().location

@allowed(['containerApp', 'functions'])
@description('What hosts the endpoint.')
param hosting string = 'containerApp'

@description('The organization, as in https://ORG.crm4.dynamics.com.')
param organization string

@description('The host name that callers use, without scheme. Leave it empty at first to take the one Azure gives.')
param publicHost string = ''

@description('The image of the endpoint, by digest, as in registry.azurecr.io/opportunity-close@sha256:... (containerApp).')
param image string = ''

@description('The Azure Container Registry that holds the image, without .azurecr.io (containerApp).')
param registry string = ''

@allowed(['on_behalf_of', 'application', 'by_caller'])
@description('As whom the organization is used.')
param access string = 'on_behalf_of'

@description('The redirect address that the platform shows once the custom connector exists.')
param connectorRedirectUri string = ''

@description('The issuer that the platform shows when the connector signs in by managed identity; empty before that.')
param connectorIssuer string = ''

@description('The subject that it shows beside the issuer.')
param connectorSubject string = ''

@description('Where alerts are sent.')
param alertEmail string

@description('The address of a collector that takes OTLP over HTTP, for traces and measures; empty: none are sent.')
param collector string = ''

@description('True puts the platform\'s own sign-in in front as well; it answers 401, never a redirect.')
param platformSignIn bool = false

@description('Settings that have no option here, by name, as in {"CONNECTOR_SERVICE_API_KEYS":"TENANT/NAME:SHA256"}. They come last.')
param more object = {}

@secure()
@description('Signs status addresses and seals what callers entrust. Only at the first deployment; later it is kept.')
param serviceSecret string = ''

@minValue(1)
@maxValue(100)
@description('Instances at the most. The store has connections for four times as many; a function app has 40 at the least.')
param maxInstances int = hosting == 'containerApp' ? 4 : 40

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: '${name}-identity'
  location: location
}

var scopeId = guid(name, 'user_impersonation')
var site = '${name}-${uniqueString(resourceGroup().id)}' // of a function app: free in all of Azure
var givenHost = hosting == 'containerApp' ? '${name}.${watch.outputs.appsDomain}' : '${site}.azurewebsites.net'
var host = empty(publicHost) ? givenHost : publicHost

module connectorApp 'connector_app.bicep' = {
  name: 'connectorApp'
  params: {
    name: name
    connectorRedirectUri: connectorRedirectUri
    connectorIssuer: connectorIssuer
    connectorSubject: connectorSubject
    apiClientId: ''
    scopeId: scopeId
  }
}

module entra 'entra.bicep' = {
  name: 'entra'
  params: {
    name: name
    identityPrincipalId: identity.properties.principalId
    scopeId: scopeId
    connectorClientId: connectorApp.outputs.clientId
    pageRedirectUri: 'https://${host}/operations-page/signed-in'
  }
}

// The same registration again, now that what it may call is there.
module connectorPermission 'connector_app.bicep' = {
  name: 'connectorPermission'
  params: {
    name: name
    connectorRedirectUri: connectorRedirectUri
    connectorIssuer: connectorIssuer
    connectorSubject: connectorSubject
    apiClientId: entra.outputs.apiClientId
    scopeId: scopeId
  }
}

module store 'store.bicep' = {
  name: 'store'
  params: {
    name: name
    location: location
    identityPrincipalId: identity.properties.principalId
    identityName: identity.name
    maxInstances: maxInstances
    serviceSecret: serviceSecret
  }
}

module watch 'watch.bicep' = {
  name: 'watch'
  params: {
    name: name
    location: location
    alertEmail: alertEmail
    hosting: hosting
  }
}

var watched = empty(collector) ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT: collector }

var settings = union(watched, {
  DATAVERSE_URL: organization
  DATAVERSE_CLIENT_ID: entra.outputs.apiClientId
  DATAVERSE_MANAGED_IDENTITY: identity.properties.clientId
  CONNECTOR_SERVICE_SIGN_IN: 'entra'
  CONNECTOR_SERVICE_ACCESS: access
  CONNECTOR_SERVICE_TENANTS: tenant().tenantId
  CONNECTOR_SERVICE_AUDIENCES: '${entra.outputs.apiClientId},${entra.outputs.audience}'
  CONNECTOR_SERVICE_CLIENTS: connectorPermission.outputs.clientId
  CONNECTOR_SERVICE_INSTANCES: string(maxInstances)
  CONNECTOR_SERVICE_GATEWAY_HOSTS: '*.azure-apim.net,*.azure-apihub.net'
}, more)

module containerApp 'container_app.bicep' = if (hosting == 'containerApp') {
  name: 'containerApp'
  params: {
    name: name
    location: location
    identityId: identity.id
    identityPrincipalId: identity.properties.principalId
    image: image
    registry: registry
    host: host
    settings: settings
    storeAddress: store.outputs.storeAddress
    maxInstances: maxInstances
    serviceSecretUri: store.outputs.serviceSecretUri
    actionGroupId: watch.outputs.actionGroupId
    apiClientId: entra.outputs.apiClientId
    audience: entra.outputs.audience
    connectorClientId: connectorPermission.outputs.clientId
    platformSignIn: platformSignIn
  }
}

module functionApp 'function_app.bicep' = if (hosting == 'functions') {
  name: 'functionApp'
  params: {
    name: name
    location: location
    identityId: identity.id
    identityClientId: identity.properties.clientId
    identityPrincipalId: identity.properties.principalId
    site: site
    host: host
    settings: settings
    storeAddress: store.outputs.storeAddress
    maxInstances: maxInstances
    serviceSecretUri: store.outputs.serviceSecretUri
    insightsName: watch.outputs.insightsName
    actionGroupId: watch.outputs.actionGroupId
    apiClientId: entra.outputs.apiClientId
    audience: entra.outputs.audience
    connectorClientId: connectorPermission.outputs.clientId
    platformSignIn: platformSignIn
  }
}

output host string = host
output site string = site
output apiClientId string = entra.outputs.apiClientId
output audience string = entra.outputs.audience
output connectorClientId string = connectorPermission.outputs.clientId
output identityClientId string = identity.properties.clientId
